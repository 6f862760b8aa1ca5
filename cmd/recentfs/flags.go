package main

import (
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/tables"
)

const (
	defaultMountpoint = "/run/recentfs/xt_recent"
	defaultControl    = "/run/recentfs/control.sock"
)

// Flags that several commands have. Those for the module's parameters are in
// params.go.

func controlFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "control", defaultControl, "`SOCKET` of the running recentfs")
}

func mountpointFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVarP(dir, "mountpoint", "m", defaultMountpoint, "`DIR` that shows the tables")
}

// tablesFlags say where tables are.
type tablesFlags struct{ place tables.Place }

func (f *tablesFlags) register(cmd *cobra.Command) {
	mountpointFlag(cmd, &f.place.Mountpoint)
	cmd.Flags().StringVar(&f.place.Netns, "netns", "", "`NAME` of the network namespace, where recentfs serves several (default: that of the caller)")
}
