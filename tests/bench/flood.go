package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendBatch is how many packets a sendmmsg(2) takes.
const sendBatch = 64

// flooder prepares a helper that sends datagrams of 64 bytes, frame and all,
// to a queue from so many source addresses in turn, for a time or up to a
// number of packets, whichever comes first. It prints how many it sent and how
// many seconds that took.
func (b *bench) flooder(queue, sources int, length time.Duration, packets int) (*exec.Cmd, error) {
	var mac net.HardwareAddr
	err := b.server.do(func() error {
		dev, err := net.InterfaceByName(device)
		if err == nil {
			mac = dev.HardwareAddr
		}
		return err
	})
	return helper(b.ctx, "flood", mac.String(), serverAddress(queue).String(),
		strconv.Itoa(sources), length.String(), strconv.Itoa(packets)), err
}

// floodLoop is the helper.
func floodLoop(args []string) error {
	mac, err := net.ParseMAC(args[0])
	if err != nil {
		return err
	}
	sources, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[3])
	if err != nil {
		return err
	}
	packets, err := strconv.Atoi(args[4])
	if err != nil {
		return err
	}
	fd, err := rawSocket()
	if err != nil {
		return err
	}
	heads := frames(mac, net.ParseIP(args[1]).To4(), sources)
	sent, next := 0, 0
	start := time.Now()
	for sent < packets && time.Since(start) < length {
		n := min(sendBatch, len(heads)-next, packets-sent)
		got, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&heads[next])), uintptr(n), 0, 0, 0)
		if errno != 0 && errno != unix.ENOBUFS && errno != unix.EINTR {
			return fmt.Errorf("sendmmsg: %w", errno)
		}
		if errno == 0 {
			sent += int(got)
			next = (next + int(got)) % len(heads)
		}
	}
	fmt.Println(sent, time.Since(start).Seconds())
	return nil
}

// rawSocket sends whole frames past the device's queue.
func rawSocket() (int, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return -1, fmt.Errorf("socket(AF_PACKET): %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return -1, fmt.Errorf("PACKET_QDISC_BYPASS: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: dev.Index}); err != nil {
		return -1, fmt.Errorf("bind to %s: %w", device, err)
	}
	return fd, nil
}

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// frames forms a frame from each source address, 10.128.0.0 and on.
func frames(mac net.HardwareAddr, to net.IP, sources int) []mmsghdr {
	const size = 64
	memory := make([]byte, sources*size)
	iovecs := make([]unix.Iovec, sources)
	heads := make([]mmsghdr, sources)
	for i := range sources {
		f := memory[i*size : (i+1)*size]
		copy(f, mac)
		f[6] = 2 // a sender of local making
		binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
		ip := f[14:]
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], size-14)
		binary.BigEndian.PutUint32(ip[12:], 10<<24|128<<16+uint32(i))
		copy(ip[16:20], to)
		binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
		udp := ip[20:]
		binary.BigEndian.PutUint16(udp, 40000)
		binary.BigEndian.PutUint16(udp[2:], 22)
		binary.BigEndian.PutUint16(udp[4:], size-14-20)
		iovecs[i].Base = &f[0]
		iovecs[i].SetLen(size)
		heads[i].hdr.Iov = &iovecs[i]
		heads[i].hdr.SetIovlen(1)
	}
	return heads
}

// checksum is the Internet checksum of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
