package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"
)

func addCommand() *cobra.Command {
	return addressesCommand("add", "+", "Add a stamp to addresses", "  recentfs add SSH 192.0.2.1 2001:db8::1")
}

// addressesCommand is add and del: both write a sign and an address.
func addressesCommand(use, sign, short, example string) *cobra.Command {
	var flags tablesFlags
	cmd := &cobra.Command{
		Use:     use + " TABLE IP...",
		Short:   short,
		Long:    short + fmt.Sprintf(" by writing %sIP to the table's file.", sign),
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			var lines []string
			for _, arg := range args[1:] {
				a, err := netip.ParseAddr(arg)
				if err != nil || a.Zone() != "" {
					return fmt.Errorf("%q is no address: an IPv4 or IPv6 address without a prefix length or zone is needed", arg)
				}
				// In full, since the file takes no more than 41 bytes.
				lines = append(lines, sign+a.StringExpanded())
			}
			return asRunError(func(*cobra.Command, []string) error {
				endBySignals()
				return flags.place.Write(args[0], lines)
			})(cmd, args)
		},
	}
	flags.register(cmd)
	return cmd
}
