package recent

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestWrite(t *testing.T) {
	const long = "b335:1d35:1e55:dead:c0de:1715:5afe:c0de"
	for _, c := range []struct {
		name, text string
		pos        int64
		n          int
		next       int64
		err        error
		line       string // of the one address in the table afterwards
	}{
		{"nothing", "", 0, 0, 0, nil, ""},
		{"nothing, elsewhere", "", 7, 0, 7, nil, ""},
		{"IPv4", "+1.2.3.4", 0, 8, 8, nil, "1.2.3.4"},
		{"IPv4 with its newline", "+1.2.3.4\n", 0, 9, 9, nil, "1.2.3.4"},
		{"what follows the newline is taken unread", "+1.2.3.4\n+5.6.7.8\n", 0, 18, 18, nil, "1.2.3.4"},
		{"a colon after the newline makes it IPv6", "+1.2.3.4\n:", 0, 0, 0, syscall.EINVAL, ""},
		{"a colon after a NUL does not", "+1.2.3.4\x00:", 0, 10, 10, nil, "1.2.3.4"},
		{"leading zeros", "+001.002.003.0004", 0, 17, 17, nil, "1.2.3.4"},
		{"IPv6", "+::1", 0, 4, 4, nil, "0000:0000:0000:0000:0000:0000:0000:0001"},
		{"IPv6, all of it", "+" + long + "\n", 0, 41, 41, nil, long},
		{"an IPv4 tail may end at a colon", "+::1.2.3.4:x", 0, 12, 12, nil, "0000:0000:0000:0000:0000:0000:0102:0304"},
		{"the middle left out", "+1::8", 0, 5, 5, nil, "0001:0000:0000:0000:0000:0000:0000:0008"},
		{"the end left out", "+1:2::\n", 0, 7, 7, nil, "0001:0002:0000:0000:0000:0000:0000:0000"},
		{"capitals", "+ABCD::EF", 0, 9, 9, nil, "abcd:0000:0000:0000:0000:0000:0000:00ef"},
		{"a space at the end", "+1.2.3.4 ", 0, 0, 0, syscall.EINVAL, ""},
		{"carriage return", "+1.2.3.4\r\n", 0, 0, 0, syscall.EINVAL, ""},
		{"a scope", "+fe80::1%lo", 0, 0, 0, syscall.EINVAL, ""},
		{"a prefix length", "+1.2.3.0/24", 0, 0, 0, syscall.EINVAL, ""},
		{"three numbers", "+1.2.3", 0, 0, 0, syscall.EINVAL, ""},
		{"five numbers", "+1.2.3.4.5", 0, 0, 0, syscall.EINVAL, ""},
		{"256", "+1.2.3.256", 0, 0, 0, syscall.EINVAL, ""},
		{"five digits", "+12345::", 0, 0, 0, syscall.EINVAL, ""},
		{"nine words", "+1:2:3:4:5:6:7:8:9", 0, 0, 0, syscall.EINVAL, ""},
		{"two gaps", "+1::2::3", 0, 0, 0, syscall.EINVAL, ""},
		{"only a sign", "+", 0, 0, 0, syscall.EINVAL, ""},
		{"no sign", "1.2.3.4", 0, 0, 0, syscall.EINVAL, ""},
		{"the old protocol's word", "clear", 0, 0, 0, syscall.EINVAL, ""},
		{"remove what is not there", "-1.2.3.4", 0, 8, 8, nil, ""},
		{"not at the start", "+1.2.3.4", 8, 0, 8, syscall.ESPIPE, ""},
		{"flush, not at the start", "/", 1, 0, 1, syscall.ESPIPE, ""},
		{"flush leaves the position", "/\n", 0, 2, 0, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil, Classic)
			w.rule(Info{CheckSet: Set})
			n, next, err := w.Table("t").Write([]byte(c.text), c.pos)
			if n != c.n || next != c.next || !errors.Is(err, c.err) {
				t.Errorf("%d, position %d, %v, want %d, %d, %v", n, next, err, c.n, c.next, c.err)
			}
			if c.line == "" {
				w.want("t")
				return
			}
			w.want("t", "src="+c.line+" ttl: 0 last_seen: 1000 oldest_pkt: 1 1000")
		})
	}
}

// TestWriteIsCut makes writes that are longer than the module's buffer.
func TestWriteIsCut(t *testing.T) {
	mapped := "+0000:0000:0000:0000:0000:ffff:192.168.100.200" // 46 bytes
	for _, c := range []struct {
		compat Compat
		text   string
		n      int
		err    error
	}{
		{Classic, "/" + strings.Repeat("x", 60), 41, nil},
		{Modern, "/" + strings.Repeat("x", 60), 47, nil},
		{Classic, "+1.2.3.4\n" + strings.Repeat("x", 60), 41, nil},
		{Modern, "+1.2.3.4\n" + strings.Repeat("x", 60), 47, nil},
		// Cut after 192.168.10 there are three numbers only.
		{Classic, mapped, 0, syscall.EINVAL},
		{Modern, mapped, 46, nil},
		{Modern, mapped + "\n", 47, nil},
	} {
		w := newWorld(t, nil, c.compat)
		w.rule(Info{CheckSet: Set})
		n, _, err := w.Table("t").Write([]byte(c.text), 0)
		if n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%s, %q: %d, %v, want %d, %v", c.compat, c.text, n, err, c.n, c.err)
		}
	}
}

func TestWriteTakesEffect(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.rule(Info{CheckSet: Set})
	write := func(text string) {
		t.Helper()
		if err := w.write("t", text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	write("+1.2.3.4")
	w.clock.Set(1001)
	write("+1.2.3.4")
	write("+::5")
	w.want("t", "src=1.2.3.4 ttl: 0 last_seen: 1001 oldest_pkt: 2 1000, 1001",
		"src=0000:0000:0000:0000:0000:0000:0000:0005 ttl: 0 last_seen: 1001 oldest_pkt: 1 1001")
	write("-1.2.3.4")
	w.want("t", "src=0000:0000:0000:0000:0000:0000:0000:0005 ttl: 0 last_seen: 1001 oldest_pkt: 1 1001")
	write("+9.9.9.9")
	write("/")
	w.want("t")
	write("+9.9.9.9")
	w.want("t", "src=9.9.9.9 ttl: 0 last_seen: 1001 oldest_pkt: 1 1001")
}

// FuzzWrite checks what the protocol promises for any write. An error changes
// nothing. A success takes no more than the module's buffer. The address that the
// table then shows can be written again.
func FuzzWrite(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, pos int64, modern bool) {
		compat := Classic
		if modern {
			compat = Modern
		}
		w := newWorld(t, nil, compat)
		rule := w.rule(Info{CheckSet: Set})
		defer w.Destroy(rule)
		n, next, err := w.Table("t").Write(data, pos)
		if n < 0 || n > min(len(data), w.module.params.maxWrite()) || next < pos || next > pos+int64(n) {
			t.Fatalf("%q at %d: took %d, position %d", data, pos, n, next)
		}
		lines := w.lines("t")
		if added := err == nil && len(data) > 0 && data[0] == '+'; len(lines) > 1 || (len(lines) == 1) != added {
			t.Fatalf("%q at %d: %v, and the table holds %q", data, pos, err, lines)
		}
		if err != nil && n != 0 {
			t.Fatalf("%q: %v, but %d bytes were taken", data, err, n)
		}
		if len(lines) == 0 {
			return
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(lines[0], "src="), " ")
		if err := w.write("t", "-"+text); err != nil || w.Table("t").header.entries != 0 {
			t.Fatalf("%q: its address %s cannot be removed: %v", data, text, err)
		}
		if bytes.ContainsRune([]byte(text), '%') {
			t.Fatalf("%q became %s", data, text)
		}
	})
}

// TestRefusedWrites counts them over all tables, with the reason of the last.
func TestRefusedWrites(t *testing.T) {
	w := newWorld(t, nil, Classic)
	w.rule(Info{CheckSet: Set})
	table := w.Table("t")
	for _, c := range []struct {
		name, text string
		pos        int64
		want       Refused
	}{
		{"an address", "+1.2.3.4", 0, Refused{}},
		{"not an address", "+bogus", 0, Refused{1, "t", "illegal address"}},
		{"a flush", "/", 0, Refused{1, "t", "illegal address"}},
		{"no sign", "1.2.3.4", 0, Refused{2, "t", `need "+ip", "-ip" or "/"`}},
		{"not at the start", "+bogus", 1, Refused{2, "t", `need "+ip", "-ip" or "/"`}},
	} {
		_, _, err := table.Write([]byte(c.text), c.pos)
		if got := table.module.Refused(); got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
}
