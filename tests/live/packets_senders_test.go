package live

import (
	be "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// connect makes a connection to the server. The server closes it first, then
// the client does.
func connect(l *lab.Network, f lab.Family) error { return l.Dial(f, "tcp", lab.SSHPort, lab.Patience) }

// refused connects to a port that answers by RST.
func refused(l *lab.Network, f lab.Family, port uint16) error {
	if err := l.Dial(f, "tcp", port, lab.Patience); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("connection to port %d: %v, want a refusal", port, err)
	}
	return nil
}

// timeWait sends a segment of an old connection to a server in TIME-WAIT: the
// side that closes first gets into that state.
func timeWait(l *lab.Network, f lab.Family) error {
	const port = 4001
	err := l.Client.Do(func() error {
		c, err := net.DialTCP("tcp", &net.TCPAddr{Port: port}, net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.Server, lab.SSHPort)))
		if err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(lab.Patience))
		c.Read(make([]byte, 1)) // until the server has closed
		return c.Close()
	})
	if err != nil {
		return err
	}
	return segment(l, f, port, lab.SSHPort)
}

// segment sends the server a TCP segment that only has ACK set, of a
// connection that the client does not have.
func segment(l *lab.Network, f lab.Family, from, to uint16) error {
	s := make([]byte, 20)
	be.BigEndian.PutUint16(s, from)
	be.BigEndian.PutUint16(s[2:], to)
	be.BigEndian.PutUint32(s[4:], 12345)
	be.BigEndian.PutUint32(s[8:], 54321)
	s[12], s[13] = 5<<4, 0x10
	sum := uint32(unix.IPPROTO_TCP + len(s)) // the pseudo header, then the rest
	for _, part := range [][]byte{f.Client.AsSlice(), f.Server.AsSlice(), s} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(be.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	be.BigEndian.PutUint16(s[16:], ^uint16(sum))
	return l.Client.Do(func() error {
		c, err := net.Dial(map[string]string{"IPv4": "ip4:tcp", "IPv6": "ip6:tcp"}[f.Name], f.Server.String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(s)
		return err
	})
}

// unaccepted makes the server listen, the client connect, and the server close
// without having accepted the connection.
func unaccepted(l *lab.Network, f lab.Family) error {
	var there net.Listener
	err := l.Server.Do(func() (err error) {
		there, err = net.Listen("tcp", netip.AddrPortFrom(f.Server, 83).String())
		return err
	})
	if err != nil {
		return err
	}
	defer there.Close()
	return l.Client.Do(func() error {
		c, err := net.Dial("tcp", there.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		return there.Close()
	})
}

// late makes the server connect to the client and close. The client then sends
// something more.
func late(l *lab.Network, f lab.Family) error {
	var there net.Listener
	err := l.Client.Do(func() (err error) {
		there, err = net.Listen("tcp", netip.AddrPortFrom(f.Client, 78).String())
		return err
	})
	if err != nil {
		return err
	}
	defer there.Close()
	err = l.Server.Do(func() error {
		c, err := net.Dial("tcp", there.Addr().String())
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		return err
	}
	c, err := there.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(lab.Patience))
	c.Read(make([]byte, 1)) // until the server has closed
	_, err = c.Write([]byte("late"))
	return err
}

// join makes the server join the family's group, and leave it.
func join(l *lab.Network, f lab.Family) error { return member(l, f, func() error { return nil }) }

// toGroup sends a datagram to the family's group while the server listens to
// it, so that a copy comes back.
func toGroup(l *lab.Network, f lab.Family) error {
	return member(l, f, func() error { return l.Server.Datagram(netip.AddrPortFrom(groups[f.Name], 5353)) })
}

// member runs do while the server is a member of the family's group.
func member(l *lab.Network, f lab.Family, do func() error) error {
	var c *net.UDPConn
	err := l.Server.Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err = net.ListenMulticastUDP(map[string]string{"IPv4": "udp4", "IPv6": "udp6"}[f.Name], eth0,
			&net.UDPAddr{IP: groups[f.Name].AsSlice(), Port: 5353})
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	return do()
}
