// Package pcap takes packets from a capture file: pcap in either byte order, in
// micro- or nanoseconds, and pcapng. It unpacks gzip.
//
// gopacket's pcapgo reads the files. It refuses unknown versions, packets without
// an interface, and pcap records longer than their packet or than the snapshot
// length. But it trusts the lengths in a pcapng file. This is what it gets wrong,
// what stands guard here, and the test case that fails without that:
//   - A pcap file that ends after a record's header is a whole file to pcapgo:
//     records.next (TestErrors, "record without its data").
//   - A link type has 8 bits, too few for LINKTYPE_LINUX_SLL2: newRecords and
//     guard.check read it (TestRead, "linux cooked v2" and "pcapng, devices of
//     different links").
//   - A pcapng file may end anywhere: guard.read passes on whole blocks only
//     (TestCutAnywhere).
//   - A block may be shorter than its own header, and the length after it is
//     ignored: guard.read (TestErrors, "pcapng block of 8 bytes" and "pcapng block
//     with two lengths").
//   - A frame takes as much memory as it announces, up to 4 GB, and may reach into
//     the next block: checkFrame (TestErrors, "pcapng packet of 4 GB" and "pcapng
//     packet one byte longer than its block").
//   - ZeroCopyReadPacketData takes as much memory as the interface announces:
//     blocks.next does not use it (TestRead, "pcapng, frames of 4 GB announced").
//   - An option may reach into the next block, and the count of its bytes has 16
//     bits: checkOptions (TestErrors, "pcapng option beyond its block" and "pcapng
//     option of 65535 bytes").
//   - It keeps every interface, and a file may have billions: guard.check
//     (TestManyInterfaces).
//   - A timestamp resolution of 2^-64 or 10^-64 is a division by zero, 10^-20 gives
//     wrong times, and one of no bytes is read from the option before it:
//     resolution, checkOptions (TestResolution; TestErrors, "pcapng resolution of
//     no bytes").
//
// Link headers are decoded here too: gopacket does not know the second Linux
// cooked header, and on the first it panics if the length of an address is out of
// range (TestRead, "linux cooked v1, address length out of range").
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

// maxFrame is the longest frame that a capture may hold: MAXIMUM_SNAPLEN of
// libpcap.
const maxFrame = 256 << 10

// File is an open capture file.
type File struct {
	path   string
	file   *os.File
	frames reader
	closed atomic.Bool
}

// reader reads the frames of a capture, one after the other.
type reader interface {
	// next returns io.EOF, unwrapped, at the end of the file and nowhere else.
	next() (frame, error)
}

// frame is one record of a capture.
type frame struct {
	gopacket.CaptureInfo
	data   []byte // valid until the next call
	link   uint32 // a LINKTYPE_ number
	device string // empty if the file does not name it
}

// Open opens a capture file, or standard input if path is -, and reads its header.
// Its errors name the file.
func Open(path string) (*File, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, err
		}
	}
	frames, err := newReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &File{path: path, file: f, frames: frames}, nil
}

// newReader recognises the format by the first bytes.
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

// Run passes the packets to decide, one a batch, in the file's order. It returns nil
// at the end of the file and after Close.
//
// A capture does not say in which hook netfilter had a packet. Each packet counts
// as arriving at Input, by the device that a pcapng file names. Run skips
// frames that carry no IP. If the file is corrupt or cut short, Run decides the
// packets before that place, and its error names the file and the packet, counted
// from 1.
func (f *File) Run(decide func([]capture.Packet)) error {
	var batch [1]capture.Packet
	last := time.Unix(0, 0) // a simple packet of pcapng has no time: it gets the last one
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
			continue
		}
		if !fr.Timestamp.IsZero() {
			last = fr.Timestamp
		}
		batch[0] = capture.Packet{Time: last, Hook: capture.Input, In: fr.device}
		fill(&batch[0], data, fr.Length-(len(fr.data)-len(data)))
		decide(batch[:])
	}
	return nil
}

// fill sets the fields that follow from a packet's bytes. onWire is its length on
// the wire without the link header, but with padding.
func fill(p *capture.Packet, data []byte, onWire int) {
	p.Data = data
	p.Length = uint32(max(onWire, len(data)))
	if p.Decode(data) {
		p.Length = min(p.Length, ipLength(data))
		p.Data = data[:min(len(data), int(p.Length))]
	}
}

// Close ends Run before its next packet. It may be called at any time.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	return f.file.Close()
}

// errCut is the error for a file that is cut short, for example because the program
// that wrote it was killed.
var errCut = errors.New("the file ends in the middle of it")
