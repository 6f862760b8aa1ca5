package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/enter"
)

func execCommand() *cobra.Command {
	var dir, netns string
	cmd := &cobra.Command{
		Use:   "exec [--netns NAMESPACE] -- COMMAND [ARG...]",
		Short: "Run a program that has /proc/net/xt_recent hard-coded",
		Long: `exec runs a command for which /proc/net/xt_recent and /proc/net/ipt_recent are
the tables of recentfs: those of the network namespace that the command, or a
child of it, is in. Where the kernel has the module too, the files in
/sys/module/xt_recent/parameters are those of recentfs as well. Everything else
in /proc/net is as before, and nobody else sees a difference: the command has a
mount namespace of its own. It takes the place of recentfs, so that its exit
status is the command's, and signals go to it; 127 says that there is no such
command, 126 that it cannot be run. It needs root and Linux 5.2; the command
may drop its privileges.`,
		Example: `  recentfs exec -- fail2ban-server -f start
  recentfs exec --netns dmz -- cat /proc/net/xt_recent/SSH`,
		RunE: asRunError(func(_ *cobra.Command, args []string) error {
			endBySignals()
			return enter.Exec(dir, netns, args)
		}),
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	mountpointFlag(cmd, &dir)
	cmd.Flags().StringVar(&netns, "netns", "", "network `NAMESPACE` to run it in, by name, path or process id")
	return cmd
}
