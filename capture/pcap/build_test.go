package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"slices"
	"time"
)

// The packets of these tests: UDP from 192.0.2.7 and 2001:db8::7, from port 40000
// to port 53, without data.
var (
	udp4 = []byte("\x45\x00\x00\x1c\x00\x01\x00\x00\x3d\x11\x00\x00\xc0\x00\x02\x07\xc0\x00\x02\x01\x9c\x40\x00\x35\x00\x08\x00\x00")
	udp6 = []byte("\x60\x00\x00\x00\x00\x08\x11\x3d\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x9c\x40\x00\x35\x00\x08\x00\x00")
	arp  = make([]byte, 28)
	when = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)
)

// file is a capture under construction.
type file struct {
	order binary.AppendByteOrder
	b     []byte
}

func (f *file) u16(v uint16) { f.b = f.order.AppendUint16(f.b, v) }
func (f *file) u32(v ...uint32) {
	for _, v := range v {
		f.b = f.order.AppendUint32(f.b, v)
	}
}

// pcapFile makes a pcap file. Its times have part units a second.
func pcapFile(order binary.AppendByteOrder, magic, link uint32, part int64, frames ...[]byte) []byte {
	f := file{order: order}
	f.u32(magic)
	f.u16(2)
	f.u16(4)
	f.u32(0, 0, 65535, link)
	for _, frame := range frames {
		f.u32(uint32(when.Unix()), uint32(int64(when.Nanosecond())*part/1e9), uint32(len(frame)), uint32(len(frame)))
		f.b = append(f.b, frame...)
	}
	return f.b
}

// plain makes a little-endian pcap file in microseconds.
func plain(link uint32, frames ...[]byte) []byte {
	return pcapFile(binary.LittleEndian, 0xa1b2c3d4, link, 1e6, frames...)
}

// block appends a pcapng block.
func (f *file) block(typ uint32, body []byte) {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	f.u32(typ, uint32(len(body)+12))
	f.b = append(f.b, body...)
	f.u32(uint32(len(body) + 12))
}

func (f *file) section() {
	body := file{order: f.order}
	body.u32(byteOrderMagic)
	body.u16(1)
	body.u16(0)
	body.u32(0xffffffff, 0xffffffff)
	f.block(blockSection, body.b)
}

// device appends an interface with a name and a timestamp resolution, if they
// are given.
func (f *file) device(link uint16, name string, resolution ...byte) {
	body := file{order: f.order}
	body.u16(link)
	body.u16(0)
	body.u32(0)
	if name != "" {
		body.option(2, []byte(name))
	}
	if resolution != nil {
		body.option(optResolution, resolution)
	}
	body.option(optEnd, nil)
	f.block(blockInterface, body.b)
}

func (f *file) option(code uint16, value []byte) {
	f.u16(code)
	f.u16(uint16(len(value)))
	f.b = append(f.b, value...)
	for len(f.b)%4 != 0 {
		f.b = append(f.b, 0)
	}
}

// packet appends an enhanced packet. Its time is in the device's units.
func (f *file) packet(device uint32, at uint64, frame []byte) {
	body := file{order: f.order}
	body.u32(device, uint32(at>>32), uint32(at), uint32(len(frame)), uint32(len(frame)))
	body.b = append(body.b, frame...)
	f.block(blockEnhanced, body.b)
}

func (f *file) simple(frame []byte) {
	body := file{order: f.order}
	body.u32(uint32(len(frame)))
	body.b = append(body.b, frame...)
	f.block(blockSimple, body.b)
}

// ng makes a pcapng file: a section header and what build appends.
func ng(order binary.AppendByteOrder, build func(*file)) []byte {
	f := file{order: order}
	f.section()
	build(&f)
	return f.b
}

func ethernet(etherType string, payload []byte) []byte {
	return slices.Concat(make([]byte, 12), []byte(etherType), payload)
}

func zipped(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

func plainNG() []byte {
	return ng(binary.LittleEndian, func(f *file) {
		f.device(101, "eth7")
		f.packet(0, 1, udp4)
	})
}

func alterU16(b []byte, at int, v uint16) []byte {
	binary.LittleEndian.PutUint16(b[at:], v)
	return b
}

func alterU32(b []byte, at int, v uint32) []byte {
	binary.LittleEndian.PutUint32(b[at:], v)
	return b
}
