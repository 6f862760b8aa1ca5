package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/gopacket/pcapgo"
)

// records reads a pcap file.
type records struct {
	// b is the buffer that pcapgo reads from as well: bufio.NewReader returns
	// its argument where that is buffered already.
	b     *bufio.Reader
	r     *pcapgo.Reader
	order binary.ByteOrder
	link  uint32
}

const (
	fileHeader   = 24
	recordHeader = 16
)

// newRecords reads the file's header.
func newRecords(b *bufio.Reader) (*records, error) {
	head, err := b.Peek(fileHeader)
	if err != nil && err != io.EOF {
		return nil, err
	}
	order := byteOrder(head)
	if order == nil {
		return nil, errors.New("no capture file: it must be pcap or pcapng, as tcpdump -w writes it")
	}
	if len(head) < fileHeader {
		return nil, fmt.Errorf("file header: %w", errCut)
	}
	// The upper bits may hold the length of a frame check sequence; pcapgo
	// keeps eight bits, which are too few for LINKTYPE_LINUX_SLL2.
	link := order.Uint32(head[20:]) & 0xffff
	if _, err := headerOf(link); err != nil {
		return nil, err
	}
	r, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, err
	}
	// Writers exceed the length that the header announces; libpcap does not
	// mind either.
	r.SetSnaplen(maxFrame)
	return &records{b: b, r: r, order: order, link: link}, nil
}

// byteOrder knows the four magic numbers of pcap, microseconds first.
func byteOrder(head []byte) binary.ByteOrder {
	if len(head) < 4 {
		return nil
	}
	switch binary.BigEndian.Uint32(head) {
	case 0xa1b2c3d4, 0xa1b23c4d:
		return binary.BigEndian
	case 0xd4c3b2a1, 0x4d3cb2a1:
		return binary.LittleEndian
	}
	return nil
}

func (r *records) next() (frame, error) {
	head, err := r.b.Peek(recordHeader)
	switch {
	case len(head) == 0 && err == io.EOF:
		return frame{}, io.EOF
	case err == io.EOF:
		return frame{}, errCut
	case err != nil:
		return frame{}, err
	}
	if n := r.order.Uint32(head[8:]); n > maxFrame {
		return frame{}, fmt.Errorf("a length of %d bytes: the file is corrupt, or no capture", n)
	}
	data, info, err := r.r.ZeroCopyReadPacketData()
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return frame{}, errCut
	}
	return frame{CaptureInfo: info, data: data, link: r.link}, err
}
