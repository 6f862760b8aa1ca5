package main

import "github.com/spf13/cobra"

func flushCommand() *cobra.Command {
	var flags tablesFlags
	cmd := &cobra.Command{
		Use:     "flush TABLE",
		Short:   "Remove all addresses of a table",
		Long:    "Remove all addresses of a table by writing / to its file.",
		Example: "  recentfs flush SSH",
		RunE: asRunError(func(_ *cobra.Command, args []string) error {
			endBySignals()
			return flags.place.Write(args[0], []string{"/"})
		}),
	}
	flags.register(cmd)
	return cmd
}
