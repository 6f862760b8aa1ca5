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
	r    *pcapgo.Reader
	link uint32
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
	// The upper 16 bits may hold the length of a frame check sequence.
	link := order.Uint32(head[20:]) & 0xffff
	if _, err := headerOf(link); err != nil {
		return nil, err
	}
	r, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, err
	}
	// Some writers exceed the length that the header announces. libpcap accepts
	// that too.
	r.SetSnaplen(maxFrame)
	return &records{r: r, link: link}, nil
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
	data, info, err := r.r.ZeroCopyReadPacketData()
	// pcapgo also returns io.EOF for a file that ends right after a record's
	// header. Only that header then has a length.
	if err == io.ErrUnexpectedEOF || err == io.EOF && info.CaptureLength > 0 {
		return frame{}, errCut
	}
	return frame{CaptureInfo: info, data: data, link: r.link}, err
}
