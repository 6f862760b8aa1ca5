package pcap

import (
	"encoding/binary"
	"fmt"
	"math"
)

// header describes a link header: its length, and the offset of the EtherType in
// it, or -1 without one.
type header struct{ size, etherType int }

const (
	tag       = 4 // bytes of a VLAN tag: two bytes, then the next EtherType
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
)

// headerOf returns the link header of a LINKTYPE_ number.
func headerOf(link uint32) (header, error) {
	switch link {
	case 1: // ETHERNET
		return header{14, 12}, nil
	case 113: // LINUX_SLL
		return header{16, 14}, nil
	case 276: // LINUX_SLL2
		return header{20, 0}, nil
	case 0, 108: // NULL, LOOP: an address family, whose numbers differ by system
		return header{4, -1}, nil
	case 12, 14, 101, 228, 229: // RAW by three numbers, IPV4, IPV6
		return header{0, -1}, nil
	}
	return header{}, fmt.Errorf("link type %d is not supported: capture on Ethernet, on \"any\" (Linux cooked) or raw IP", link)
}

// payload finds the network header in a frame. It reports false if the frame
// carries no IP or ends before the network header, and fails if headerOf does not
// know the link type.
func payload(link uint32, data []byte) ([]byte, bool, error) {
	h, err := headerOf(link)
	if err != nil || len(data) < h.size {
		return nil, false, err
	}
	if h.etherType < 0 {
		data = data[h.size:]
		return data, len(data) > 0 && (data[0]>>4 == 4 || data[0]>>4 == 6), nil
	}
	etherType := binary.BigEndian.Uint16(data[h.etherType:])
	data = data[h.size:]
	for vlan(etherType) {
		if len(data) < tag {
			return nil, false, nil
		}
		etherType = binary.BigEndian.Uint16(data[2:])
		data = data[tag:]
	}
	return data, etherType == etherIPv4 || etherType == etherIPv6, nil
}

// vlan knows the EtherTypes of 802.1Q and of 802.1ad (QinQ), and two older ones of
// QinQ.
func vlan(etherType uint16) bool {
	switch etherType {
	case 0x8100, 0x88a8, 0x9100, 0x9200:
		return true
	}
	return false
}

// ipLength is the length in the header of a decodable packet, without the padding
// of a short frame. A length of 0 means nothing (capture.Header.Decode).
func ipLength(data []byte) uint32 {
	if data[0]>>4 == 4 {
		if total := binary.BigEndian.Uint16(data[2:]); total != 0 {
			return uint32(total)
		}
	} else if size := binary.BigEndian.Uint16(data[4:]); size != 0 {
		return 40 + uint32(size)
	}
	return math.MaxUint32
}
