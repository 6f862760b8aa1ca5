package pcap

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// read runs a capture and returns its packets, their data copied.
func read(t testing.TB, b []byte) ([]capture.Packet, Stats, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		return nil, Stats{}, err
	}
	defer f.Close()
	var all []capture.Packet
	err = f.Run(func(batch []capture.Packet) {
		for _, p := range batch {
			p.Data = slices.Clone(p.Data)
			all = append(all, p)
		}
	})
	return all, f.Stats(), err
}

func TestRead(t *testing.T) {
	padded := append(slices.Clone(udp4), make([]byte, 18)...)
	micro, nano := uint64(when.UnixMicro()), uint64(when.UnixNano())
	for _, c := range []struct {
		name  string
		file  []byte
		want  [][]byte // the packets
		stats Stats
		in    string
	}{
		{"little-endian microseconds", plain(1, ethernet("\x08\x00", udp4), ethernet("\x86\xdd", udp6)), [][]byte{udp4, udp6}, Stats{Packets: 2}, ""},
		{"big-endian microseconds", pcapFile(binary.BigEndian, 0xa1b2c3d4, 1, 1e6, ethernet("\x08\x00", udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"little-endian nanoseconds", pcapFile(binary.LittleEndian, 0xa1b23c4d, 1, 1e9, ethernet("\x08\x00", udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"big-endian nanoseconds", pcapFile(binary.BigEndian, 0xa1b23c4d, 1, 1e9, ethernet("\x08\x00", udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"gzip", zipped(plain(101, udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"no packets", plain(1), nil, Stats{}, ""},
		{"padding", plain(1, ethernet("\x08\x00", padded)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"vlan", plain(1, ethernet("\x81\x00\x00\x05\x08\x00", udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"qinq", plain(1, ethernet("\x88\xa8\x00\x05\x81\x00\x00\x06\x86\xdd", udp6)), [][]byte{udp6}, Stats{Packets: 1}, ""},
		{"old qinq", plain(1, ethernet("\x91\x00\x00\x05\x81\x00\x00\x06\x86\xdd", udp6)), [][]byte{udp6}, Stats{Packets: 1}, ""},
		{"vlan tag cut short", plain(1, ethernet("\x81\x00\x00\x05\x08", nil)), nil, Stats{Skipped: 1}, ""},
		{"other protocols", plain(1, ethernet("\x08\x06", arp), ethernet("\x00\x26", arp), ethernet("\x81\x00\x00\x05\x08\x06", arp)), nil, Stats{Skipped: 3}, ""},
		{"ethernet cut short", plain(1, make([]byte, 13), nil), nil, Stats{Skipped: 2}, ""},
		{"linux cooked v1", plain(113, slices.Concat(make([]byte, 14), []byte("\x08\x00"), udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"linux cooked v1, address length out of range", plain(113, slices.Concat(make([]byte, 4), []byte("\xff\xff"), make([]byte, 8), []byte("\x08\x00"), udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"linux cooked v1 with a vlan tag", plain(113, slices.Concat(make([]byte, 14), []byte("\x81\x00\x00\x05\x08\x00"), udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"linux cooked v2", plain(276, slices.Concat([]byte("\x86\xdd"), make([]byte, 18), udp6)), [][]byte{udp6}, Stats{Packets: 1}, ""},
		{"raw", plain(101, udp4, udp6), [][]byte{udp4, udp6}, Stats{Packets: 2}, ""},
		{"raw, old numbers", plain(12, udp4), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"raw ipv4", plain(228, udp4), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"raw ipv6", plain(229, udp6), [][]byte{udp6}, Stats{Packets: 1}, ""},
		{"loopback of bsd", plain(0, slices.Concat([]byte{2, 0, 0, 0}, udp4), slices.Concat([]byte{30, 0, 0, 0}, udp6)), [][]byte{udp4, udp6}, Stats{Packets: 2}, ""},
		{"loopback of openbsd", plain(108, slices.Concat([]byte{0, 0, 0, 2}, udp4), []byte{0, 0, 0, 7, 1}), [][]byte{udp4}, Stats{Packets: 1, Skipped: 1}, ""},
		{"frame check sequence announced", plain(1|4<<28, ethernet("\x08\x00", udp4)), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"undecodable", plain(1, ethernet("\x08\x00", udp4[:19]), ethernet("\x08\x00", udp4)), [][]byte{udp4[:19], udp4}, Stats{Packets: 2, Undecodable: 1}, ""},
		{"pcapng, little-endian", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "eth7")
			f.packet(0, micro, ethernet("\x08\x00", udp4))
		}), [][]byte{udp4}, Stats{Packets: 1}, "eth7"},
		{"pcapng, big-endian, nanoseconds", ng(binary.BigEndian, func(f *file) {
			f.device(101, "", 9)
			f.packet(0, nano, udp6)
		}), [][]byte{udp6}, Stats{Packets: 1}, ""},
		{"pcapng, frames of 4 GB announced", ng(binary.LittleEndian, func(f *file) {
			f.device(101, "")
			binary.LittleEndian.PutUint32(f.b[28+12:], 0xffffffff)
			f.packet(0, micro, udp4)
		}), [][]byte{udp4}, Stats{Packets: 1}, ""},
		{"pcapng, devices of different links", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "eth7")
			f.device(276, "eth7")
			f.packet(1, micro, slices.Concat([]byte("\x86\xdd"), make([]byte, 18), udp6))
			f.packet(0, micro, ethernet("\x08\x00", udp4))
		}), [][]byte{udp6, udp4}, Stats{Packets: 2}, "eth7"},
		{"pcapng, two sections and unknown blocks", ng(binary.LittleEndian, func(f *file) {
			f.device(1, "a")
			f.block(0x0bad, make([]byte, 40))
			f.section()
			f.device(101, "eth7")
			f.packet(0, micro, udp4)
			f.block(blockStatistics, make([]byte, 12))
		}), [][]byte{udp4}, Stats{Packets: 1}, "eth7"},
		{"pcapng, simple packet", ng(binary.LittleEndian, func(f *file) {
			f.device(101, "eth7")
			f.packet(0, micro, udp6)
			f.simple(udp4)
		}), [][]byte{udp6, udp4}, Stats{Packets: 2}, "eth7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, stats, err := read(t, c.file)
			if err != nil {
				t.Fatal(err)
			}
			if stats != c.stats || len(got) != len(c.want) {
				t.Fatalf("%d packets, %+v; want %d, %+v", len(got), stats, len(c.want), c.stats)
			}
			for i, p := range got {
				if !bytes.Equal(p.Data, c.want[i]) || !p.Time.Equal(when) || p.In != c.in || p.Hook != capture.Input || p.Out != "" {
					t.Errorf("packet %d: %+v", i, p)
				}
				if p.Family != 0 && (p.DstPort != 53 || p.Length != uint32(len(p.Data)) || p.TTL != 61) {
					t.Errorf("packet %d: length %d, %+v", i, p.Length, p.Header)
				}
			}
		})
	}
}

// TestCut reads a frame of which the capture holds the headers only.
func TestCut(t *testing.T) {
	b := plain(101, udp4)
	binary.LittleEndian.PutUint32(b[fileHeader+12:], 1400)
	binary.BigEndian.PutUint16(b[fileHeader+recordHeader+2:], 1400)
	got, _, err := read(t, b)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d packets, %v", len(got), err)
	}
	if p := got[0]; p.Length != 1400 || len(p.Data) != 28 || p.Family != unix.NFPROTO_IPV4 || !p.Transport {
		t.Errorf("%+v", p)
	}
}
