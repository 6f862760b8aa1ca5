// Stockqueue accepts every packet of a queue, by go-nfqueue's own receive loop
// and in the way of its example: a peer for make bench.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"github.com/mdlayher/netlink"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "stockqueue:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: stockqueue QUEUE QUEUE_LENGTH RECEIVE_BUFFER")
	}
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	nf, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      uint16(n[0]),
		MaxPacketLen: 0xFFFF,
		MaxQueueLen:  uint32(n[1]),
		Copymode:     nfqueue.NfQnlCopyPacket,
		WriteTimeout: 15 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	defer nf.Close()
	if err := nf.SetOption(netlink.NoENOBUFS, true); err != nil {
		return err
	}
	if err := nf.Con.SetReadBuffer(n[2]); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	accept := func(a nfqueue.Attribute) int {
		nf.SetVerdict(*a.PacketID, nfqueue.NfAccept)
		return 0
	}
	// Not -1, as the example has it: that would end the loop.
	ignore := func(error) int { return 0 }
	if err := nf.RegisterWithErrorFunc(ctx, accept, ignore); err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}
