package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/control"
)

func rulesCommand() *cobra.Command {
	var path, netns string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print the running rules with their counters",
		Long: `rules prints the rules at work as iptables-save -c would: each with the
packets and bytes that matched it, each chain with those that its policy
decided. Where recentfs serves several network namespaces it prints the rules of
each, or of the one that is named. Root may ask, and the group recentfs.`,
		Example: "  recentfs rules\n  recentfs rules --netns dmz",
		RunE: asRunError(func(cmd *cobra.Command, _ []string) error {
			return control.NewClient(path).Rules(cmd.OutOrStdout(), netns)
		}),
	}
	controlFlag(cmd, &path)
	cmd.Flags().StringVar(&netns, "netns", "", "network namespace `NAME` whose rules to print")
	return cmd
}
