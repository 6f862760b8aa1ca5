package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// ping sends the server's queue one echo request after the other, each when
// the answer to the one before is here, and returns the round trips in
// ascending order. It ends after so many or after a time.
func (b *bench) ping(queue, most int, length time.Duration) (trips []time.Duration, err error) {
	err = b.client.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		if err != nil {
			return fmt.Errorf("socket(ICMP): %w", err)
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte(serverAddress(queue))}); err != nil {
			return err
		}
		trips, err = pingLoop(b.ctx, fd, most, length)
		return err
	})
	slices.Sort(trips)
	return trips, err
}

func pingLoop(ctx context.Context, fd, most int, length time.Duration) ([]time.Duration, error) {
	const warmUp = 100 // the first few wait for ARP and for caches
	trips := make([]time.Duration, 0, most)
	var reply [256]byte
	begin := time.Now()
	for i := 0; len(trips) < most && time.Since(begin) < length && ctx.Err() == nil; i++ {
		request := echoRequest(uint16(i))
		start := time.Now()
		if _, err := unix.Write(fd, request[:]); err != nil {
			return nil, fmt.Errorf("ping: %w", err)
		}
		for {
			n, err := unix.Read(fd, reply[:])
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("no answer to a ping: %w", err)
			}
			// Behind an IPv4 header without options: an answer to this one?
			if n >= 28 && reply[20] == 0 && [4]byte(reply[24:]) == [4]byte(request[4:]) {
				break
			}
		}
		if i >= warmUp {
			trips = append(trips, time.Since(start))
		}
	}
	if len(trips) == 0 {
		return nil, errors.New("no pings in the time given")
	}
	return trips, nil
}

// echoRequest is an ICMP message with 56 bytes of data, as ping(8) sends it.
func echoRequest(seq uint16) (m [64]byte) {
	m[0] = 8
	binary.BigEndian.PutUint16(m[4:], 0x7266)
	binary.BigEndian.PutUint16(m[6:], seq)
	binary.BigEndian.PutUint16(m[2:], checksum(m[:]))
	return m
}

// quantile is the q-th part of sorted samples, in microseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	i := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[i]) / float64(time.Microsecond)
}
