package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/daemon"
)

func checkCommand() *cobra.Command {
	var params paramFlags
	var file string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a file of rules and print it as iptables-save would",
		Long: `check reads rules as 'recentfs run' would and prints them in the form of
iptables-save, or says which lines are wrong and what to do about them: all of
them, up to 50. It needs no root and touches nothing. Without --rules it prints
the built-in example.`,
		Example: "  recentfs check --rules /etc/recentfs/rules\n  recentfs check --compat modern -r - < rules",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := params.params()
			if err != nil {
				return err
			}
			return asRunError(func(cmd *cobra.Command, _ []string) error {
				rules, err := daemon.ReadRules(file, "--rules", p, warnBy(cmd))
				if err != nil {
					return err
				}
				return rules.Save(cmd.OutOrStdout())
			})(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&file, "rules", "r", "", "`FILE` of rules, - for standard input (default: the built-in example)")
	return cmd
}

// warnBy prints what a command has to say beside its output.
func warnBy(cmd *cobra.Command) func(text string) {
	return func(text string) { cmd.PrintErrf("%s: %s\n", cmd.CommandPath(), text) }
}
