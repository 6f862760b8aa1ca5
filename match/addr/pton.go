package addr

// class is what a character can be in an address: the IN6PTON_* bits of
// net/core/utils.c.
type class uint8

const (
	digit   class = 1 << iota // 0-9
	hex                       // 0-9, a-f, A-F
	dot                       // .
	end                       // newline, NUL or the end of the text
	colon1                    // a colon that ends a word
	colon2                    // the second colon of ::
	colon12                   // the first of two colons with nothing before them
	empty                     // not a character: the current word may be empty

	colons = colon1 | colon2 | colon12
)

// classify tells what the character at i is: xdigit2bin with a newline for
// delimiter.
func classify(text []byte, i int) (c class, value int) {
	if i >= len(text) {
		return end, 0
	}
	switch b := text[i]; {
	case b == '\n' || b == 0:
		return end, 0
	case b == ':':
		return colons, 0
	case b == '.':
		return dot, 0
	case '0' <= b && b <= '9':
		return digit | hex, int(b - '0')
	case 'a' <= b && b <= 'f':
		return hex, int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return hex, int(b-'A') + 10
	}
	return 0, 0
}

// Parse4 reads four decimal numbers up to a newline, NUL, colon or the end:
// in4_pton. It takes leading zeroes, and ignores what follows a colon.
func Parse4(text []byte) (Addr, bool) {
	var b [16]byte
	ok := parse4(text, b[:4])
	return Load(&b), ok
}

// Parse6 reads an IPv6 address up to a newline, NUL or the end: in6_pton. An IPv4
// tail may end at a colon, since parse4 reads it.
func Parse6(text []byte) (Addr, bool) {
	var b [16]byte
	ok := parse6(text, &b)
	return Load(&b), ok
}

// parse4 is Parse4 into four bytes.
func parse4(text []byte, out []byte) bool {
	n, value, digits := 0, 0, 0
	for i := 0; ; i++ {
		c, v := classify(text, i)
		if c&digit != 0 {
			value = value*10 + v
			digits++
			if value > 255 || n == 4 {
				return false
			}
			continue
		}
		if c&(dot|end|colons) == 0 || digits == 0 || n == 4 {
			return false
		}
		out[n] = byte(value)
		n++
		value, digits = 0, 0
		if c&dot == 0 {
			return n == 4
		}
		if n == 4 {
			return false
		}
	}
}

// parse6 is Parse6 into 16 bytes. expect holds the classes that may come next.
func parse6(text []byte, out *[16]byte) bool {
	var b [20]byte // two words longer than an address: an IPv4 tail may be too much
	n, gap, word, start := 0, -1, 0, 0
	expect := colon12 | hex | empty
	for i := 0; ; i++ {
		c, v := classify(text, i)
		if c&expect == 0 {
			return false
		}
		switch {
		case c&dot != 0:
			if !parse4(text[start:], b[n:n+4]) {
				return false
			}
			return expand(b[:n+4], gap, out)
		case c&(end|colons) != 0:
			if expect&empty == 0 {
				b[n], b[n+1] = byte(word>>8), byte(word)
				n += 2
			}
			if c&end != 0 {
				return expand(b[:n], gap, out)
			}
			word = 0
			start = i + 1
			switch expect & colons {
			case colon2:
				gap = n
				expect = hex | end
				if n >= 16 {
					expect |= empty
				}
			case colon1 | colon12:
				expect = hex | colon2
			case colon1:
				expect = hex
			case colon12:
				expect = colon2
			default:
				expect = 0
			}
		default:
			word = word<<4 | v
			expect = colon1 | end
			if word&0xf000 == 0 {
				expect |= hex
			}
			if n+2 < 16 && gap < 0 {
				expect |= colon12
				expect &^= end
			}
			if n+2 >= 16 {
				expect &^= colon1 | colon12
			}
		}
		if n+4 == 16 || gap >= 0 && n+4 < 16 {
			expect |= dot
		}
		if n >= 16 {
			expect &^= hex | colons
		}
	}
}

// expand puts the words after the gap at the end of out.
func expand(words []byte, gap int, out *[16]byte) bool {
	if gap < 0 {
		gap = len(words)
	}
	*out = [16]byte{}
	copy(out[:gap], words[:gap])
	copy(out[16-(len(words)-gap):], words[gap:])
	return true
}
