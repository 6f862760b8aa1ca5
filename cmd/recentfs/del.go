package main

import "github.com/spf13/cobra"

func delCommand() *cobra.Command {
	return addressesCommand("del", "-", "Remove addresses", "  recentfs del SSH 192.0.2.1")
}
