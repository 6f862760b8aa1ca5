package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/daemon"
)

// overloadFlags bound what is kept for packets that wait, and for tables.
type overloadFlags struct {
	length     uint32
	buffer     daemon.Size
	onOverload string
	memory     daemon.Size
}

func (f *overloadFlags) register(cmd *cobra.Command) {
	f.buffer = daemon.DefaultQueueBuffer
	cmd.Flags().Uint32Var(&f.length, "queue-length", daemon.DefaultQueueLength, "how many `PACKETS` may wait in a queue")
	cmd.Flags().Var(&f.buffer, "queue-buffer", "`SIZE` of the buffer of a queue's socket")
	cmd.Flags().StringVar(&f.onOverload, "on-overload", "drop", "what becomes of a packet that finds the queue or the buffer full: drop or accept")
	cmd.Flags().Var(&f.memory, "max-memory", "`SIZE` that all tables together may take when they are full; larger ones are refused")
}

// set takes the flags over.
func (f *overloadFlags) set(c *daemon.Config) error {
	switch {
	case f.length == 0:
		return fmt.Errorf("--queue-length 0: 1 or more is needed, since a queue of 0 is always full")
	case f.buffer < daemon.LeastQueueBuffer || f.buffer > daemon.MostQueueBuffer:
		return fmt.Errorf("--queue-buffer %v: %v to 1023M are possible", f.buffer, daemon.LeastQueueBuffer)
	case f.onOverload != "drop" && f.onOverload != "accept":
		return fmt.Errorf("--on-overload %s: it is drop or accept", f.onOverload)
	}
	c.MaxMemory = f.memory
	c.Queue.Length, c.Queue.Buffer, c.Queue.Accept = f.length, int(f.buffer), f.onOverload == "accept"
	return nil
}
