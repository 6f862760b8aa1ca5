// Package pcap takes packets from a capture file: pcap in either byte order,
// in micro- or nanoseconds, and pcapng; gzip is undone.
//
// gopacket's pcapgo reads the files. It believes the lengths in them, so what
// could make it allocate without bound or divide by zero is refused before it
// sees it (records, blocks). Link headers are decoded here: gopacket has no
// second Linux cooked header, and its first panics on an address length out of
// range.
package pcap

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"

	"recentfs/capture"
)

// maxFrame is the longest frame that a capture may hold: libpcap's
// MAXIMUM_SNAPLEN.
const maxFrame = 256 << 10

// File is a capture file being read.
type File struct {
	path   string
	file   *os.File
	frames reader
	closed atomic.Bool
	stats  Stats
}

// Stats counts the frames of a file.
type Stats struct {
	Packets     uint64 // handed to decide
	Undecodable uint64 // of these, without a network header that Decode takes
	Skipped     uint64 // frames of other protocols than IPv4 and IPv6
}

// reader gives the frames of a capture, one after the other.
type reader interface {
	// next returns io.EOF, as it is, at the end of the file only.
	next() (frame, error)
}

// frame is one record of a capture.
type frame struct {
	gopacket.CaptureInfo
	data   []byte // valid until the next
	link   uint32 // LINKTYPE_ number
	device string // where pcapng names it
}

var _ capture.Source = (*File)(nil)

// Open opens a capture file and reads its header. Errors name the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	frames, err := newReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{path: path, file: f, frames: frames}, nil
}

// newReader finds out the format by the first bytes.
func newReader(r io.Reader) (reader, error) {
	b := bufio.NewReader(r)
	magic, _ := b.Peek(4)
	if len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		b = bufio.NewReader(z)
		magic, _ = b.Peek(4)
	}
	if string(magic) == "\x0a\x0d\x0d\x0a" {
		return newBlocks(b)
	}
	return newRecords(b)
}

// Run implements capture.Source, with one packet a batch, in the file's order.
//
// A capture does not say where netfilter would have met a packet: each counts
// as arriving at Input, with the device's name where a pcapng file has it.
// Frames that carry no IP are skipped and counted. The error for a file that
// is corrupt or breaks off names the file and the packet, counted from 1; the
// packets before it have been decided.
func (f *File) Run(decide func([]capture.Packet)) error {
	var batch [1]capture.Packet
	last := time.Unix(0, 0) // pcapng's simple packets have no time of their own
	for n := 1; !f.closed.Load(); n++ {
		fr, err := f.frames.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if f.closed.Load() {
				return nil
			}
			return fmt.Errorf("%s: packet %d: %w", f.path, n, err)
		}
		data, ok, err := payload(fr.link, fr.data)
		if err != nil {
			return fmt.Errorf("%s: packet %d: %w", f.path, n, err)
		}
		if !ok {
			f.stats.Skipped++
			continue
		}
		if !fr.Timestamp.IsZero() {
			last = fr.Timestamp
		}
		batch[0] = capture.Packet{Time: last, Hook: capture.Input, In: fr.device}
		f.fill(&batch[0], data, fr.Length-(len(fr.data)-len(data)))
		decide(batch[:])
	}
	return nil
}

// fill sets what a packet's bytes say. onWire is its length without the link
// header, but with padding.
func (f *File) fill(p *capture.Packet, data []byte, onWire int) {
	p.Data = data
	p.Length = uint32(max(onWire, len(data)))
	if p.Decode(data) {
		p.Length = min(p.Length, ipLength(data))
		p.Data = data[:min(len(data), int(p.Length))]
	} else {
		f.stats.Undecodable++
	}
	f.stats.Packets++
}

// Close ends Run before its next packet.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.file.Close()
}

// Stats is to be called when Run is back.
func (f *File) Stats() Stats { return f.stats }

// errCut is for a file that ends in the middle of something, as when the
// program that wrote it was killed.
var errCut = errors.New("the file ends in the middle of it")
