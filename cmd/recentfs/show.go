package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/report"
)

func showCommand() *cobra.Command {
	var flags tablesFlags
	var query report.Query
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [TABLE [ADDRESS|PREFIX]]",
		Short: "Print the addresses of a table, or of all",
		Long: `show prints each address of a table with the number of its hits, when it was
first and last seen, and its ttl, in the order of the file unless --sort is
given. Of the hits a table remembers the last ip_pkt_list_tot, and of these the
first is shown. With an address or a prefix (192.0.2.0/24) it prints only what
is in it, and exits 1 with a line on standard error if there is nothing.
Users other than root may see times that are off by a fraction of a second,
since only root may read where the kernel's clock began.`,
		Example: `  recentfs show SSH
  recentfs show SSH 192.0.2.1
  recentfs show SSH --since 10m --sort hits --limit 5
  recentfs show --json | jq -r 'select(.hits > 3) | .table + " " + .address'`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var table string
			if len(args) > 0 {
				table = args[0]
			}
			if len(args) > 1 {
				if query.Prefix, err = parsePrefix(args[1]); err != nil {
					return err
				}
			}
			if cmd.Flags().Changed("limit") && query.Limit < 1 {
				return fmt.Errorf("--limit \"%d\": a number of 1 or more is needed", query.Limit)
			}
			return asRunError(func(*cobra.Command, []string) error {
				endBySignals()
				return flags.place.Show(table, query, asJSON, cmd.OutOrStdout(), cmd.ErrOrStderr())
			})(cmd, args)
		},
	}
	flags.register(cmd)
	cmd.Flags().Var(&query.Sort, "sort", "order: the latest seen first, the latest first seen first, the most hits first, or the lowest address first")
	cmd.Flags().IntVar(&query.Limit, "limit", 0, "print at most `N` addresses of a table")
	cmd.Flags().Var((*timespan)(&query.Since), "since", "print addresses that were seen within this `TIME`, as 10m, 1h30m or 7d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines: an object for each address, with its table")
	return cmd
}

// parsePrefix reads an address or a prefix, whose other bits do not count, as
// iptables reads them.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is no address and no prefix: one as 192.0.2.1 or 2001:db8::/32 is needed", s)
	}
	return p.Masked(), nil
}
