package lab

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sources sends datagrams over the loopback device from any address in 127.0.0.0/8.
// It is for one goroutine at a time.
type Sources struct {
	socket  int
	control [32]byte // an IP_PKTINFO
}

// NewSources opens the socket until the end of the test.
func (ns *Netns) NewSources(t testing.TB) *Sources {
	t.Helper()
	s := new(Sources)
	if err := ns.Do(func() (err error) {
		s.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.socket) })
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.control[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
	h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	return s
}

// Send sends a datagram from an address to a port.
func (s *Sources) Send(from [4]byte, port int, data []byte) error {
	info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&s.control[unix.CmsgLen(0)]))
	info.Spec_dst = from
	to := unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	return unix.Sendmsg(s.socket, data, s.control[:unix.CmsgSpace(unix.SizeofInet4Pktinfo)], &to, 0)
}
