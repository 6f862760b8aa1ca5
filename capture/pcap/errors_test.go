package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// errorFiles are files that cannot be read to their end. The error names the file
// and then contains want.
var errorFiles = []struct {
	name string
	file []byte
	want string
}{
	{"empty", nil, "no capture file"},
	{"text", []byte("# no capture\n"), "no capture file"},
	{"header cut short", plain(1)[:20], "file header: the file ends"},
	{"unknown version", alterU16(plain(1), 4, 1), "version"},
	{"link type", plain(105), "link type 105 is not supported"},
	{"record header cut short", append(plain(101, udp4), make([]byte, 15)...), "packet 2: the file ends in the middle"},
	{"record cut short", plain(101, udp4, udp4)[:fileHeader+2*recordHeader+28+27], "packet 2: the file ends in the middle"},
	{"record without its data", plain(101, udp4)[:fileHeader+recordHeader], "packet 1: the file ends in the middle"},
	{"record of 4 GB", alterU32(plain(101, udp4), fileHeader+8, 0xfffffff0), "packet 1: capture length exceeds"},
	{"record longer than its packet", alterU32(plain(101, udp4), fileHeader+12, 20), "packet 1: capture length exceeds"},
	{"record longer than a frame may be", plain(101, make([]byte, maxFrame+1)), "packet 1: capture length exceeds"},
	{"gzip header cut short", zipped(plain(101, udp4))[:5], "unexpected EOF"},
	{"gzip data that is none", append(zipped(nil)[:10], 0xff), "corrupt input"},
	{"gzip cut short", zipped(plain(101, udp4))[:40], "packet 1: the file ends in the middle"},
	{"pcapng cut short", plainNG()[:len(plainNG())-1], "packet 1: the file ends in the middle"},
	{"pcapng without a byte order", alterU32(plainNG(), 8, 7), "byte order"},
	{"pcapng block of 8 bytes", alterU32(plainNG(), 4, 8), "block of 8 bytes"},
	{"pcapng block of 4 GB", alterU32(plainNG(), 28+4, 0xfffffffc), "packet 1: block of 4294967292 bytes"},
	{"pcapng block of 29 bytes", alterU32(plainNG(), 28+4, 29), "packet 1: block of 29 bytes"},
	{"pcapng block longer than a block may be", alterU32(plainNG(), 28+4, maxBlock+4), "packet 1: block of 16777220 bytes"},
	{"pcapng block with two lengths", alterU32(plainNG(), 24, 32), "two different lengths"},
	{"pcapng of version 2", alterU16(plainNG(), 12, 2), "ersion"},
	{"pcapng packet without a device", ng(binary.LittleEndian, func(f *file) { f.packet(0, 0, udp4) }), "packet 1: Interface id 0"},
	{"pcapng simple packet without a device", ng(binary.LittleEndian, func(f *file) { f.simple(udp4) }), "packet 1: At least one"},
	{"pcapng packet of 4 GB", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.block(blockEnhanced, append(make([]byte, 12), 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	}), "packet 1: frame of 4294967280 bytes in a block with room for 0"},
	{"pcapng simple packet of 4 GB", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.block(blockSimple, []byte{0xf0, 0xff, 0xff, 0xff})
	}), "packet 1: frame of 4294967280 bytes"},
	{"pcapng packet longer than a frame may be", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.packet(0, 0, make([]byte, maxFrame+1))
	}), "packet 1: frame of 262145 bytes"},
	{"pcapng packet one byte longer than its block", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.packet(0, 0, udp4)
		alterU32(f.b, len(f.b)-4-len(udp4)-8, uint32(len(udp4)+1))
	}), "packet 1: frame of 29 bytes in a block with room for 28"},
	{"pcapng packet too short", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.block(blockEnhanced, make([]byte, 16))
	}), "packet 1: block too short"},
	{"pcapng resolution 10^-64", ng(binary.LittleEndian, func(f *file) { f.device(101, "", 64) }), "timestamp resolution"},
	{"pcapng resolution 2^-127", ng(binary.LittleEndian, func(f *file) { f.device(101, "", 0xff) }), "timestamp resolution"},
	{"pcapng resolution of no bytes", ng(binary.LittleEndian, func(f *file) { f.device(101, "\x7f", []byte{}...) }), "timestamp resolution"},
	{"pcapng option beyond its block", ng(binary.LittleEndian, func(f *file) {
		f.block(blockInterface, []byte{101, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0xff, 0xff})
	}), "packet 1: option longer than its block"},
	{"pcapng option of 65535 bytes", ng(binary.LittleEndian, func(f *file) {
		body := append(make([]byte, 8), 1, 0, 0xff, 0xff)
		f.block(blockInterface, append(body, make([]byte, 1<<16)...))
	}), "packet 1: option longer than its block"},
	{"pcapng option cut short", ng(binary.LittleEndian, func(f *file) {
		f.block(blockInterface, []byte{101, 0, 0, 0, 0, 0, 0, 0, 1, 0, 6, 0})
	}), "packet 1: option longer than its block"},
	{"pcapng section option beyond its block", alterU32(ng(binary.LittleEndian, func(f *file) {
		f.b = f.b[:24]
		f.u32(0xffff0002, 32)
	}), 4, 32), "option longer than its block"},
	{"pcapng device too short", ng(binary.LittleEndian, func(f *file) { f.block(blockInterface, make([]byte, 4)) }), "packet 1: block too short"},
	{"pcapng simple packet too short", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.block(blockSimple, nil)
	}), "packet 1: block too short"},
	{"pcapng statistics too short", ng(binary.LittleEndian, func(f *file) { f.block(blockStatistics, make([]byte, 8)) }), "packet 1: block too short"},
	{"pcapng statistics option beyond its block", ng(binary.LittleEndian, func(f *file) {
		f.device(101, "")
		f.block(blockStatistics, append(make([]byte, 12), 1, 0, 0xff, 0xff))
	}), "packet 1: option longer than its block"},
	{"pcapng link type", ng(binary.LittleEndian, func(f *file) {
		f.device(105, "")
		f.packet(0, 0, udp4)
	}), "packet 1: link type 105 is not supported"},
}

func TestErrors(t *testing.T) {
	for _, c := range errorFiles {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(t, c.file)
			if err == nil || !strings.Contains(err.Error(), "x.pcap: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !os.IsNotExist(err) {
		t.Errorf("no file: %v", err)
	}
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, unix.EISDIR) || !strings.HasPrefix(err.Error(), dir+": ") {
		t.Errorf("a directory: %v", err)
	}
}

// TestCutAnywhere cuts files at every byte. The end of a file is an error, except
// between two records or blocks.
func TestCutAnywhere(t *testing.T) {
	record := recordHeader + len(udp4)
	for _, c := range []struct {
		name string
		file []byte
		ends []int // the lengths at which a whole file ends
	}{
		{"pcap", plain(101, udp4, udp4), []int{fileHeader, fileHeader + record, fileHeader + 2*record}},
		{"pcapng", plainNG(), []int{28, 28 + 32, 28 + 32 + 60}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for n := range len(c.file) + 1 {
				_, err := read(t, c.file[:n])
				if whole := slices.Contains(c.ends, n); whole != (err == nil) {
					t.Errorf("%d of %d bytes: error %v", n, len(c.file), err)
				}
			}
		})
	}
}

// TestManyInterfaces has sections with ever more interfaces, or with ever longer ones.
func TestManyInterfaces(t *testing.T) {
	for _, c := range []struct {
		name, device string
		sections     int
		ok           bool
		interfaces   int // in each section
	}{
		{"as many as may be", "", 1, true, maxDevices / (deviceMemory + 12)},
		{"one more", "", 1, false, maxDevices/(deviceMemory+12) + 1},
		{"in many sections", "", 3, true, 10000},
		{"with long names", strings.Repeat("x", 60000), 1, false, 300},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := file{order: binary.LittleEndian}
			for range c.sections {
				f.section()
				for range c.interfaces {
					f.device(101, c.device)
				}
				f.packet(0, 0, udp4)
			}
			packets := 0
			r, err := newReader(bytes.NewReader(f.b))
			for err == nil {
				if _, err = r.next(); err == nil {
					packets++
				}
			}
			if c.ok && (err != io.EOF || packets != c.sections) || !c.ok && !strings.HasPrefix(err.Error(), "more than ") {
				t.Errorf("%d packets, %v", packets, err)
			}
		})
	}
}

func TestClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, plain(101, udp4, udp4, udp4), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = f.Run(func([]capture.Packet) {
		if n++; n == 2 {
			f.Close()
		}
	})
	if err != nil || n != 2 {
		t.Errorf("%d packets, %v; want 2 and no error", n, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func FuzzCapture(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := newReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		c := &File{path: "x.pcap", frames: r}
		err = c.Run(func(batch []capture.Packet) {
			p := &batch[0]
			if uint32(len(p.Data)) > p.Length || p.Time.IsZero() {
				t.Errorf("%d bytes of %d at %v", len(p.Data), p.Length, p.Time)
			}
		})
		if err != nil && !strings.HasPrefix(err.Error(), "x.pcap: packet ") {
			t.Errorf("error %v", err)
		}
	})
}
