package main

import "github.com/spf13/cobra"

func showCommand() *cobra.Command {
	var flags tablesFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [TABLE]",
		Short: "Print the addresses of a table, or of all",
		Long: `show prints each address of a table with the number of its hits, when it was
first and last seen, and its ttl; the latest seen comes first. Of the hits a
table remembers the last ip_pkt_list_tot, and of these the first is shown.
Users other than root may see times that are off by a fraction of a second,
since only root may read where the kernel's clock began.`,
		Example: "  recentfs show SSH\n  recentfs show --json | jq '.SSH[].address'",
		RunE: asRunError(func(cmd *cobra.Command, args []string) error {
			return flags.dir().Show(args, asJSON, cmd.OutOrStdout(), cmd.ErrOrStderr())
		}),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: an object of tables, each a list of addresses")
	return cmd
}
