package pcap

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// read runs a capture and returns its packets, with copies of their data. It
// checks that little more memory was allocated than the file has bytes.
func read(t testing.TB, b []byte) ([]capture.Packet, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	defer func() {
		runtime.ReadMemStats(&after)
		if n, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+4*len(b)); n > most {
			t.Errorf("%d bytes allocated for a file of %d, want %d at most", n, len(b), most)
		}
	}()
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []capture.Packet
	err = f.Run(func(batch []capture.Packet) {
		for _, p := range batch {
			p.Data = slices.Clone(p.Data)
			all = append(all, p)
		}
	})
	return all, err
}

func TestRead(t *testing.T) {
	padded := append(slices.Clone(udp4), make([]byte, 18)...)
	micro, nano := uint64(when.UnixMicro()), uint64(when.UnixNano())
	for _, c := range []struct {
		name string
		file []byte
		want [][]byte // the packets, udp4 or udp6
		in   string
	}{
		{"little-endian microseconds", plain(1, ethernet("\x08\x00", udp4), ethernet("\x86\xdd", udp6)), [][]byte{udp4, udp6}, ""},
		{"big-endian microseconds", pcapFile(binary.BigEndian, 0xa1b2c3d4, 1, 1e6, ethernet("\x08\x00", udp4)), [][]byte{udp4}, ""},
		{"little-endian nanoseconds", pcapFile(binary.LittleEndian, 0xa1b23c4d, 1, 1e9, ethernet("\x08\x00", udp4)), [][]byte{udp4}, ""},
		{"big-endian nanoseconds", pcapFile(binary.BigEndian, 0xa1b23c4d, 1, 1e9, ethernet("\x08\x00", udp4)), [][]byte{udp4}, ""},
		{"gzip", zipped(plain(101, udp4)), [][]byte{udp4}, ""},
		{"no packets", plain(1), nil, ""},
		{"padding", plain(1, ethernet("\x08\x00", padded)), [][]byte{udp4}, ""},
		{"vlan", plain(1, ethernet("\x81\x00\x00\x05\x08\x00", udp4)), [][]byte{udp4}, ""},
		{"qinq", plain(1, ethernet("\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd", udp6)), [][]byte{udp6}, ""},
		{"qinq, 0x9100", plain(1, ethernet("\x91\x00\x00\x05\x81\x00\x00\x06\x86\xdd", udp6)), [][]byte{udp6}, ""},
		{"qinq, 0x9200", plain(1, ethernet("\x92\x00\x00\x05\x81\x00\x00\x06\x86\xdd", udp6)), [][]byte{udp6}, ""},
		{"vlan tag cut short", plain(1, ethernet("\x81\x00\x00\x05\x08", nil)), nil, ""},
		{"other protocols", plain(1, ethernet("\x08\x06", arp), ethernet("\x00\x26", arp), ethernet("\x81\x00\x00\x05\x08\x06", arp)), nil, ""},
		{"ethernet cut short", plain(1, make([]byte, 13), nil), nil, ""},
		{"linux cooked v1", plain(113, slices.Concat(make([]byte, 14), []byte("\x08\x00"), udp4)), [][]byte{udp4}, ""},
		{"linux cooked v1, address length out of range", plain(113, slices.Concat(make([]byte, 4), []byte("\xff\xff"), make([]byte, 8), []byte("\x08\x00"), udp4)), [][]byte{udp4}, ""},
		{"linux cooked v1 with a vlan tag", plain(113, slices.Concat(make([]byte, 14), []byte("\x81\x00\x00\x05\x08\x00"), udp4)), [][]byte{udp4}, ""},
		{"linux cooked v2", plain(276, slices.Concat([]byte("\x86\xdd"), make([]byte, 18), udp6)), [][]byte{udp6}, ""},
		{"raw", plain(101, udp4, udp6), [][]byte{udp4, udp6}, ""},
		{"raw, number 12", plain(12, udp4), [][]byte{udp4}, ""},
		{"raw, number 14", plain(14, udp4), [][]byte{udp4}, ""},
		{"raw ipv4", plain(228, udp4), [][]byte{udp4}, ""},
		{"raw ipv6", plain(229, udp6), [][]byte{udp6}, ""},
		{"loopback of bsd", plain(0, slices.Concat([]byte{2, 0, 0, 0}, udp4), slices.Concat([]byte{30, 0, 0, 0}, udp6)), [][]byte{udp4, udp6}, ""},
		{"loopback of openbsd", plain(108, slices.Concat([]byte{0, 0, 0, 2}, udp4), []byte{0, 0, 0, 7, 1}), [][]byte{udp4}, ""},
		{"frame check sequence announced", plain(1|4<<28, ethernet("\x08\x00", udp4)), [][]byte{udp4}, ""},
		{"undecodable", plain(1, ethernet("\x08\x00", udp4[:19]), ethernet("\x08\x00", udp4)), [][]byte{udp4[:19], udp4}, ""},
		{"pcapng, little-endian", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "eth7")
			f.packet(0, micro, ethernet("\x08\x00", udp4))
		}), [][]byte{udp4}, "eth7"},
		{"pcapng, big-endian, nanoseconds", ng(binary.BigEndian, func(f *file) {
			f.device(101, "", 9)
			f.packet(0, nano, udp6)
		}), [][]byte{udp6}, ""},
		{"pcapng, frames of 4 GB announced", ng(binary.LittleEndian, func(f *file) {
			f.device(101, "")
			binary.LittleEndian.PutUint32(f.b[28+12:], 0xffffffff)
			f.packet(0, micro, udp4)
		}), [][]byte{udp4}, ""},
		{"pcapng, bytes after the end of options", ng(binary.LittleEndian, func(f *file) {
			f.block(blockInterface, []byte{101, 0, 0, 0, 0, 0, 0, 0, optEnd, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
			f.packet(0, micro, udp4)
		}), [][]byte{udp4}, ""},
		{"pcapng, devices of different links", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "eth7")
			f.device(276, "eth7")
			f.packet(1, micro, slices.Concat([]byte("\x86\xdd"), make([]byte, 18), udp6))
			f.packet(0, micro, ethernet("\x08\x00", udp4))
		}), [][]byte{udp6, udp4}, "eth7"},
		{"pcapng, two sections and unknown blocks", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "a")
			f.block(0x0bad, make([]byte, 40))
			f.section()
			f.device(101, "eth7")
			f.packet(0, micro, udp4)
			f.block(blockStatistics, make([]byte, 12))
		}), [][]byte{udp4}, "eth7"},
		{"pcapng, simple packet cut at the snapshot length", ng(binary.LittleEndian, func(f *file) {
			f.device(101, "eth7")
			binary.LittleEndian.PutUint32(f.b[28+12:], uint32(len(udp4)))
			f.packet(0, micro, udp6)
			at := len(f.b)
			f.simple(udp4)
			binary.LittleEndian.PutUint32(f.b[at+8:], 1400)
		}), [][]byte{udp6, udp4}, "eth7"},
		{"pcapng, simple packet", ng(binary.LittleEndian, func(f *file) {
			f.device(101, "eth7")
			f.packet(0, micro, udp6)
			f.simple(udp4)
		}), [][]byte{udp6, udp4}, "eth7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, c.file)
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("%d packets, %v; want %d and no error", len(got), err, len(c.want))
			}
			for i, p := range got {
				if !bytes.Equal(p.Data, c.want[i]) || !p.Time.Equal(when) || p.In != c.in || p.Hook != capture.Input || p.Out != "" {
					t.Errorf("packet %d: %+v", i, p)
				}
				if whole := len(c.want[i]) >= len(udp4); whole != (p.Family != 0) {
					t.Errorf("packet %d: family %d", i, p.Family)
				} else if whole && (p.DstPort != 53 || p.Length != uint32(len(p.Data)) || p.TTL != 61) {
					t.Errorf("packet %d: length %d, %+v", i, p.Length, p.Header)
				}
			}
		})
	}
}

// TestHeadersOnly reads a frame that the capture cut after the headers.
func TestHeadersOnly(t *testing.T) {
	b := plain(101, udp4)
	binary.LittleEndian.PutUint32(b[fileHeader+12:], 1400)
	binary.BigEndian.PutUint16(b[fileHeader+recordHeader+2:], 1400)
	got, err := read(t, b)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d packets, %v", len(got), err)
	}
	if p := got[0]; p.Length != 1400 || len(p.Data) != 28 || p.Family != unix.NFPROTO_IPV4 || !p.Transport {
		t.Errorf("%+v", p)
	}
}

// TestResolution reads packets of one second after 1970, in devices whose times
// have different units.
func TestResolution(t *testing.T) {
	const refused = "packet 1: interface with a timestamp resolution"
	for _, c := range []struct {
		name       string
		resolution byte
		second     uint64 // in the device's units
		fails      bool
	}{
		{"10^-3", 3, 1e3, false},
		{"10^-6", 6, 1e6, false},
		{"10^-12", 12, 1e12, false},
		{"10^-19", 19, 1e19, false},
		{"10^-20", 20, 1, true},
		{"10^-64", 64, 1, true},
		{"10^-127", 127, 1, true},
		{"2^0", 0x80, 1, false},
		{"2^-10", 0x80 | 10, 1 << 10, false},
		{"2^-63", 0x80 | 63, 1 << 63, false},
		{"2^-64", 0x80 | 64, 1, true},
		{"2^-127", 0x80 | 127, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := read(t, ng(binary.LittleEndian, func(f *file) {
				f.device(101, "", c.resolution)
				f.packet(0, c.second, udp4)
			}))
			switch {
			case c.fails:
				if err == nil || !strings.Contains(err.Error(), refused) {
					t.Errorf("error %v, want one with %q", err, refused)
				}
			case err != nil || len(got) != 1:
				t.Errorf("%d packets, %v; want 1 and no error", len(got), err)
			case !got[0].Time.Equal(time.Unix(1, 0)):
				t.Errorf("time %v, want one second after 1970", got[0].Time.UTC())
			}
		})
	}
}

// TestLongestFrame reads frames as long as a capture may hold them. TestErrors
// has frames that are one byte longer.
func TestLongestFrame(t *testing.T) {
	frame := slices.Concat(udp4, make([]byte, maxFrame-len(udp4)))
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"pcap", plain(101, frame, udp4)},
		{"pcapng", ng(binary.BigEndian, func(f *file) {
			f.device(101, "")
			f.packet(0, 0, frame)
			f.packet(0, 0, udp4)
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := read(t, c.file); err != nil || len(got) != 2 {
				t.Errorf("%d packets, %v; want 2 and no error", len(got), err)
			}
		})
	}
}
