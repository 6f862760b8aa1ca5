package recent

import (
	"strconv"

	"golang.org/x/sys/unix"

	"recentfs/match/addr"
	"recentfs/match/jiffies"
)

// longestLine is the length that no line with so many stamps exceeds.
func longestLine(stamps int) int {
	return len("src=0000:0000:0000:0000:0000:0000:0000:0000 ttl: 255 last_seen: 18446744073709551615 oldest_pkt: 65535\n") +
		stamps*len(", 18446744073709551615")
}

// MaxLength returns a length that the lines of the table together do not exceed.
func (t *Table) MaxLength() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(t.header.limit) * int64(longestLine(int(t.header.ring)))
}

// appendLine forms an entry's line: recent_seq_show. stamps are the places of the
// ring that hold one.
func appendLine(b []byte, s *slot, stamps []jiffies.Jiffies) []byte {
	b = append(b, "src="...)
	if s.family == unix.NFPROTO_IPV4 {
		b = addr.AppendPI4(b, s.addr)
	} else {
		b = addr.AppendPI6(b, s.addr)
	}
	b = append(b, " ttl: "...)
	b = strconv.AppendUint(b, uint64(s.ttl), 10)
	b = append(b, " last_seen: "...)
	b = strconv.AppendUint(b, uint64(stamps[s.newestIndex(uint32(len(stamps)))]), 10)
	b = append(b, " oldest_pkt: "...)
	b = strconv.AppendUint(b, uint64(s.index), 10)
	return append(appendStamps(b, stamps[:s.nstamps]), '\n')
}

// appendStamps appends " 1, 2, 3". The stamps of an address mostly differ in their
// last four digits only. The other digits are copied from the stamp before, which
// takes half of the time.
func appendStamps(b []byte, stamps []jiffies.Jiffies) []byte {
	const digits = 4
	var high uint64  // the stamp before without its last digits
	var from, to int // where in b its digits are
	for i, stamp := range stamps {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, ' ')
		h, low := uint64(stamp)/1e4, uint64(stamp)%1e4
		if h != high || h == 0 {
			from = len(b)
			b = strconv.AppendUint(b, uint64(stamp), 10)
			high, to = h, len(b)-digits
			continue
		}
		b = append(b, b[from:to]...)
		b = append(b, pairs[low/100*2], pairs[low/100*2+1], pairs[low%100*2], pairs[low%100*2+1])
	}
	return b
}

// pairs are the numbers of two digits.
const pairs = "00010203040506070809" +
	"10111213141516171819" +
	"20212223242526272829" +
	"30313233343536373839" +
	"40414243444546474849" +
	"50515253545556575859" +
	"60616263646566676869" +
	"70717273747576777879" +
	"80818283848586878889" +
	"90919293949596979899"
