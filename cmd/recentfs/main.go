// Recentfs is the kernel's xt_recent in user space: packets come from netfilter
// queues, rules match them against tables of recently seen addresses, and a
// mount shows the tables as files.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// version is set by make build.
var version string

func main() { os.Exit(run(os.Args[1:])) }

// The exit statuses beside 0.
const (
	exitFailure = 1
	exitUsage   = 2
)

// run carries out a command line and returns the exit status.
func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	text := fmt.Sprintf("%s: %s", cmd.CommandPath(), strings.ReplaceAll(err.Error(), "\n", "; "))
	var failed failure
	if errors.As(err, &failed) {
		fmt.Fprintln(os.Stderr, text)
		var cannot unusable
		if errors.As(err, &cannot) {
			return cannot.status
		}
		return exitFailure
	}
	fmt.Fprintf(os.Stderr, "%s (see '%s --help')\n", text, cmd.CommandPath())
	return exitUsage
}

// failure is what went wrong while a command ran. Every other error is one of
// the command line itself.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// running makes a cobra RunE of a command's function, whose errors are
// failures.
func running(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := do(cmd, args); err != nil {
			return failure{err}
		}
		return nil
	}
}

const (
	defaultMountpoint = "/run/recentfs/xt_recent"
	defaultControl    = "/run/recentfs/control.sock"
)

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "recentfs",
		Short: "iptables -m recent in user space, its tables as files",
		Long: `recentfs is the kernel's xt_recent (iptables -m recent) as a program: packets
come in through NFQUEUE, rules match them against tables of recently seen
addresses, and a mount shows every table as a file that reads and writes as
/proc/net/xt_recent/NAME does.`,
		Example: `  recentfs run --rules /etc/recentfs/rules
  iptables -t mangle -A INPUT -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0 --queue-bypass
  cat /run/recentfs/xt_recent/SSH
  echo +192.0.2.1 > /run/recentfs/xt_recent/SSH`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), checkCommand(), rulesCommand(), reloadCommand(), replayCommand(),
		execCommand(), showCommand(), addCommand(), delCommand(), flushCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Example: "  recentfs version",
		Args:    cobra.NoArgs,
		RunE: running(func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "recentfs %s (%s %s/%s)\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		}),
	}
}

// programVersion is what make build stamped, else what go install knows.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
