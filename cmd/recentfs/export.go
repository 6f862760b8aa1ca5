package main

import (
	"github.com/spf13/cobra"
)

func exportCommand() *cobra.Command {
	var flags tablesFlags
	cmd := &cobra.Command{
		Use:   "export [TABLE]",
		Short: "Print the addresses of a table, or of all, for import elsewhere",
		Long: `export prints the addresses of a table, or of all, for 'recentfs import' on this
machine or another one, whatever its kernel's HZ. It prints an object for each, a
line of JSON:

  {"table":"SSH","address":"192.0.2.1","ttl":57,"times":[1796000000.004,1796000060.5]}

times are when the address was seen, as many as the table has kept, the oldest
first: seconds since 1970, which programs compare as they are. Each line stands
alone, so that lines may be filtered, sorted, cut, and joined with those of others.`,
		Example: `  recentfs export > tables.json
  recentfs export SSH | ssh other recentfs import
  recentfs export SSH | jq -r 'select(now - .times[-1] < 600) | .address'
  recentfs export --netns dmz | jq -c '.table = "DMZ"' | recentfs import
  recentfs export -m /proc/net/xt_recent > kernel.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return asRunError(func(*cobra.Command, []string) error {
				endBySignals()
				table := ""
				if len(args) > 0 {
					table = args[0]
				}
				return flags.place.Export(table, cmd.OutOrStdout())
			})(cmd, args)
		},
	}
	flags.register(cmd)
	return cmd
}
