package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pinged are the times of pings, each kind in ascending order.
type pinged struct {
	trips []time.Duration // until the answer is read
	// delays end when the kernel has the answer: they do without the time in
	// which whoever asked waits for a processor.
	delays []time.Duration
	inside []time.Duration // of a trace
}

// ping sends the server's queue one echo request after the other, each when
// the answer to the one before is here. It ends after so many or after a time.
func (b *bench) ping(queue, most int, length time.Duration) (p pinged, err error) {
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
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		p, err = pingLoop(b.ctx, fd, most, length)
		return err
	})
	slices.Sort(p.trips)
	slices.Sort(p.delays)
	return p, err
}

func pingLoop(ctx context.Context, fd, most int, length time.Duration) (p pinged, err error) {
	const warmUp = 100 // the first few wait for ARP and for caches
	p.trips, p.delays = make([]time.Duration, 0, most), make([]time.Duration, 0, most)
	var reply [256]byte
	control := make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{}))))
	begin := time.Now()
	for i := 0; len(p.trips) < most && time.Since(begin) < length && ctx.Err() == nil; i++ {
		request := echoRequest(uint16(i))
		start := time.Now()
		if _, err := unix.Write(fd, request[:]); err != nil {
			return p, fmt.Errorf("ping: %w", err)
		}
		for {
			n, stamped, _, _, err := unix.Recvmsg(fd, reply[:], control, 0)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				return p, fmt.Errorf("no answer to a ping: %w", err)
			}
			if stamped < unix.CmsgLen(int(unsafe.Sizeof(unix.Timespec{}))) {
				return p, errors.New("an answer to a ping has no time of arrival: SO_TIMESTAMPNS")
			}
			// Behind an IPv4 header without options: an answer to this one?
			if n >= 28 && reply[20] == 0 && [4]byte(reply[24:]) == [4]byte(request[4:]) {
				break
			}
		}
		if i >= warmUp {
			p.trips = append(p.trips, time.Since(start))
			came := (*unix.Timespec)(unsafe.Pointer(&control[unix.CmsgLen(0)])) // SCM_TIMESTAMPNS
			p.delays = append(p.delays, time.Duration(came.Nano()-start.UnixNano()))
		}
	}
	if len(p.trips) == 0 {
		return p, errors.New("no pings in the time given")
	}
	return p, nil
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
