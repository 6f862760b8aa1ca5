package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/control"
)

func saveCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "save",
		Short: "Make a running recentfs save its tables now",
		Long: `save writes the tables of a recentfs that runs with --state to its directory, and
returns when they are on the disk. recentfs does so by itself every 30 seconds
(--sync), and when it ends. Only root may ask.`,
		Example: "  recentfs save",
		RunE: asRunError(func(*cobra.Command, []string) error {
			return control.NewClient(path).Save()
		}),
	}
	controlFlag(cmd, &path)
	return cmd
}
