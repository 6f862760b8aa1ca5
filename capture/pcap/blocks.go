package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/google/gopacket/pcapgo"
)

// blocks reads a pcapng file.
type blocks struct {
	r *pcapgo.NgReader
	*guard
}

func newBlocks(b *bufio.Reader) (*blocks, error) {
	g := &guard{b: b}
	r, err := pcapgo.NewNgReader(g, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, ngError(err)
	}
	return &blocks{r: r, guard: g}, nil
}

func (b *blocks) next() (frame, error) {
	// Not ZeroCopyReadPacketData: it allocates the snapshot length that the
	// device announces, up to 4 GB.
	data, info, err := b.r.ReadPacketData()
	if err == io.EOF {
		return frame{}, io.EOF // guard returns it only between two blocks
	}
	if err != nil {
		return frame{}, ngError(err)
	}
	i, err := b.r.Interface(info.InterfaceIndex)
	if err != nil {
		return frame{}, err
	}
	return frame{CaptureInfo: info, data: data, link: b.links[info.InterfaceIndex], device: i.Name}, nil
}

func ngError(err error) error {
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		return errCut
	}
	return err
}

// Block types, options and sizes of pcapng.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockPacket     = 2 // obsolete
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6

	byteOrderMagic = 0x1a2b3c4d
	optEnd         = 0
	optResolution  = 9 // if_tsresol

	blockHead = 8 // type and length
	blockFrom = blockHead + 4
	maxBlock  = 16 << 20 // Wireshark has the same limit
	// maxDevices bounds what pcapgo keeps of a section's interfaces: what is in the
	// block of each, and deviceMemory. A small gzip file may have billions of them.
	maxDevices   = 16 << 20
	deviceMemory = 1 << 10
)

// guard passes whole blocks on to pcapgo and checks each before. The lengths in a
// block must agree with each other, so that pcapgo finds the next block, and the
// block must contain the bytes for which pcapgo allocates memory.
type guard struct {
	b     *bufio.Reader
	order binary.ByteOrder
	block []byte   // the last block
	rest  []byte   // the part of block that is not passed on yet
	links []uint32 // by interface of the section
	snaps []uint32 // likewise
	kept  int      // how much pcapgo keeps of the section's interfaces
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		if err := g.read(); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// read reads a block and checks it. It returns io.EOF at the end of the file only.
func (g *guard) read() error {
	var head [blockFrom]byte
	if _, err := io.ReadFull(g.b, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:]) == blockSection {
		g.order = binary.LittleEndian // pcapgo refuses a third order
		if binary.BigEndian.Uint32(head[blockHead:]) == byteOrderMagic {
			g.order = binary.BigEndian
		}
		g.links, g.snaps, g.kept = nil, nil, 0
	}
	size := g.order.Uint32(head[4:])
	if size < blockFrom || size > maxBlock || size%4 != 0 {
		return fmt.Errorf("block of %d bytes: the file is corrupt", size)
	}
	if uint32(cap(g.block)) < size {
		g.block = make([]byte, size)
	}
	g.block = g.block[:size]
	copy(g.block, head[:])
	if _, err := io.ReadFull(g.b, g.block[blockFrom:]); err != nil {
		return io.ErrUnexpectedEOF
	}
	if g.order.Uint32(g.block[size-4:]) != size {
		return errors.New("block with two different lengths: the file is corrupt")
	}
	if err := g.check(g.order.Uint32(head[:]), g.block[blockHead:size-4]); err != nil {
		return err
	}
	g.rest = g.block
	return nil
}

// check checks the body of a block, for the types that pcapgo decodes.
func (g *guard) check(typ uint32, body []byte) error {
	switch typ {
	case blockSection:
		return g.checkOptions(body, 16)
	case blockInterface:
		if err := g.checkOptions(body, 8); err != nil {
			return err
		}
		if g.kept += len(body) + deviceMemory; g.kept > maxDevices {
			return fmt.Errorf("more than %d interfaces, or too long ones: the file is corrupt", len(g.links))
		}
		g.links = append(g.links, uint32(g.order.Uint16(body)))
		g.snaps = append(g.snaps, g.order.Uint32(body[4:]))
	case blockStatistics:
		return g.checkOptions(body, 12)
	case blockEnhanced, blockPacket:
		if len(body) < 20 {
			return errShort
		}
		return checkFrame(g.order.Uint32(body[12:]), len(body)-20)
	case blockSimple:
		if len(body) < 4 {
			return errShort
		}
		n := g.order.Uint32(body)
		if len(g.snaps) > 0 && g.snaps[0] != 0 {
			n = min(n, g.snaps[0])
		}
		return checkFrame(n, len(body)-4)
	}
	return nil
}

var errShort = errors.New("block too short for its type: the file is corrupt")

// checkFrame checks a frame's length against the room in its block.
func checkFrame(size uint32, room int) error {
	if uint64(size) > uint64(room) || size > maxFrame {
		return fmt.Errorf("frame of %d bytes in a block with room for %d: the file is corrupt", size, room)
	}
	return nil
}

// checkOptions checks that the options after the fixed bytes of a body do not
// reach beyond the body.
func (g *guard) checkOptions(body []byte, fixed int) error {
	if len(body) < fixed {
		return errShort
	}
	for b := body[fixed:]; len(b) > 0; {
		if len(b) < 4 {
			return errOption
		}
		code, size := g.order.Uint16(b), int(g.order.Uint16(b[2:]))
		if code == optEnd {
			return nil
		}
		padded := (size + 3) &^ 3
		if b = b[4:]; padded > len(b) || padded > math.MaxUint16 { // pcapgo's count has 16 bits
			return errOption
		}
		if code == optResolution && (size == 0 || !resolution(b[0])) {
			return errors.New("interface with a timestamp resolution that does not fit 64 bits: the file is corrupt")
		}
		b = b[padded:]
	}
	return nil
}

var errOption = errors.New("option longer than its block: the file is corrupt")

// resolution reports whether the units of a second fit in 64 bits, as pcapgo
// divides by them. With the upper bit a resolution is a negative power of 2,
// else of 10.
func resolution(v byte) bool {
	if v&0x80 != 0 {
		return v&0x7f < 64
	}
	return v < 20
}
