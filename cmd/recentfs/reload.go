package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/control"
)

func reloadCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running recentfs read its rules and parameters again",
		Long: `reload swaps the rules between two packets. Tables that still have a rule keep
their addresses. Where the file has an error, the old rules stay.

The file of --modprobe-conf is read again too. A table that gets room for fewer
addresses or stamps keeps the newest; new tables get new permissions and owners.
reload prints what became of parameters that changed. What was given by flags
needs a restart. Only root may ask.`,
		Example: "  recentfs reload",
		RunE: asRunError(func(cmd *cobra.Command, _ []string) error {
			return control.NewClient(path).Reload(cmd.OutOrStdout())
		}),
	}
	controlFlag(cmd, &path)
	return cmd
}
