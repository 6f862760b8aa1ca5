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
iptables-save, or says which line is wrong and what to do about it. It needs no
root and touches nothing. Without --rules it prints the built-in example.`,
		Example: "  recentfs check --rules /etc/recentfs/rules\n  recentfs check --compat modern -r rules",
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := params.params()
			if err != nil {
				return err
			}
			return asRunError(func(cmd *cobra.Command, _ []string) error {
				rules, err := daemon.ReadRules(file, "--rules", p)
				if err != nil {
					return err
				}
				return rules.Save(cmd.OutOrStdout())
			})(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&file, "rules", "r", "", "`FILE` of rules (default: the built-in example)")
	return cmd
}
