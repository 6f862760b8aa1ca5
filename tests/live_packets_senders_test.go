package tests

import (
	be "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// datagram sends one datagram from a namespace; its process holds the socket
// until the packet is on its way.
func (l *lab) datagram(ns *netns, to netip.AddrPort) (err error) {
	ns.do(func() {
		var c net.Conn
		if c, err = net.Dial("udp", to.String()); err == nil {
			_, err = c.Write([]byte("knock"))
			c.Close()
		}
	})
	return err
}

// connect makes a connection to the server, which closes it, and then closes
// it too.
func (l *lab) connect(f family) error { return l.dial(f, "tcp", sshPort, patience) }

// refused connects to a port that answers by RST.
func (l *lab) refused(f family, port uint16) error {
	if err := l.dial(f, "tcp", port, patience); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("connection to port %d: %v, want a refusal", port, err)
	}
	return nil
}

// timeWait leaves the server in TIME-WAIT, which it does where it closes
// first, and then sends a segment of before.
func (l *lab) timeWait(f family) (err error) {
	const port = 4001
	l.client.do(func() {
		var c *net.TCPConn
		c, err = net.DialTCP("tcp", &net.TCPAddr{Port: port}, net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.server, sshPort)))
		if err != nil {
			return
		}
		c.SetReadDeadline(time.Now().Add(patience))
		c.Read(make([]byte, 1)) // until the server has closed
		err = c.Close()
	})
	if err != nil {
		return err
	}
	return l.segment(f, port, sshPort)
}

// segment sends the server a TCP segment that only has ACK set, of a
// connection that the client does not have.
func (l *lab) segment(f family, from, to uint16) (err error) {
	s := make([]byte, 20)
	be.BigEndian.PutUint16(s, from)
	be.BigEndian.PutUint16(s[2:], to)
	be.BigEndian.PutUint32(s[4:], 12345)
	be.BigEndian.PutUint32(s[8:], 54321)
	s[12], s[13] = 5<<4, 0x10
	sum := uint32(unix.IPPROTO_TCP + len(s)) // the pseudo header, then the rest
	for _, part := range [][]byte{f.client.AsSlice(), f.server.AsSlice(), s} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(be.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	be.BigEndian.PutUint16(s[16:], ^uint16(sum))
	l.client.do(func() {
		var c net.Conn
		if c, err = net.Dial(map[string]string{"IPv4": "ip4:tcp", "IPv6": "ip6:tcp"}[f.name], f.server.String()); err == nil {
			_, err = c.Write(s)
			c.Close()
		}
	})
	return err
}

// late closes a connection of the server's to the client, which then sends
// something more.
func (l *lab) late(f family) (err error) {
	var there net.Listener
	l.client.do(func() { there, err = net.Listen("tcp", netip.AddrPortFrom(f.client, 78).String()) })
	if err != nil {
		return err
	}
	defer there.Close()
	l.server.do(func() {
		var c net.Conn
		if c, err = net.Dial("tcp", there.Addr().String()); err == nil {
			err = c.Close()
		}
	})
	if err != nil {
		return err
	}
	c, err := there.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	c.Read(make([]byte, 1)) // until the server has closed
	_, err = c.Write([]byte("late"))
	return err
}

// join has the server join the family's group, and leave it.
func (l *lab) join(f family) error { return l.member(f, func() error { return nil }) }

// toGroup sends a datagram to the family's group while the server listens to
// it, so that a copy comes back.
func (l *lab) toGroup(f family) error {
	return l.member(f, func() error { return l.datagram(l.server, netip.AddrPortFrom(groups[f.name], 5353)) })
}

func (l *lab) member(f family, do func() error) (err error) {
	var c *net.UDPConn
	l.server.do(func() {
		var eth0 *net.Interface
		if eth0, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		c, err = net.ListenMulticastUDP(map[string]string{"IPv4": "udp4", "IPv6": "udp6"}[f.name], eth0,
			&net.UDPAddr{IP: groups[f.name].AsSlice(), Port: 5353})
	})
	if err != nil {
		return err
	}
	defer c.Close()
	return do()
}
