package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/control"
)

func reloadCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running recentfs read its rules again",
		Long: `reload swaps the rules between two packets. Tables that still have a rule keep
their addresses. Where the file has an error, the old rules stay.`,
		Example: "  recentfs reload",
		RunE: asRunError(func(*cobra.Command, []string) error {
			return control.NewClient(path).Reload()
		}),
	}
	controlFlag(cmd, &path)
	return cmd
}
