package exchange

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"recentfs/match/jiffies"
)

// noon is when files of the tests were written. The kernel's clock showed 1000000 by
// then, at 100 ticks a second.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func testLoad(t testing.TB, table string) *Load {
	t.Helper()
	l := &Load{Table: table, Clock: func(moment time.Time) jiffies.Wall {
		return jiffies.Wall{HZ: 100, At: 1000000, Time: moment}
	}}
	if err := l.Begin(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// decoded are the lines that Decode gets of what was loaded, or the error of it.
func decoded(t testing.TB, l *Load) string {
	t.Helper()
	body, size, err := l.Body()
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(body)
	if err != nil || int64(len(text)) != size {
		t.Fatalf("the body has %d bytes, not %d: %v", len(text), size, err)
	}
	var lines []byte
	err = Decode(strings.NewReader(string(text)), func([]string) error { return nil }, func(r *Record) error {
		name, err := quote(r.Table)
		lines = r.append(lines, name)
		return err
	})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return string(lines)
}

// TestFormats reads files named F.
func TestFormats(t *testing.T) {
	const at = `1767268800` // noon
	line := func(address, times string) string {
		return fmt.Sprintf(`{"table":"F","address":"%s","ttl":0,"times":[%s]}`+"\n", address, times)
	}
	for _, c := range []struct{ name, table, text, want string }{
		{"nothing", "", "", ""},
		{"nothing but comments", "", "# none\n\n; none\n", ""},

		{"JSON lines, the latest first", "", `{"table":"B","address":"192.0.2.1","ttl":57,"times":[5,7.25]}` + "\n" +
			`{"table":"A","address":"2001:db8::1","ttl":0,"times":[1.000001]}` + "\n" +
			`{"table":"B","address":"192.0.2.2","ttl":255,"times":[6]}` + "\n",
			`{"table":"B","address":"192.0.2.2","ttl":255,"times":[6]}` + "\n" +
				`{"table":"B","address":"192.0.2.1","ttl":57,"times":[5,7.25]}` + "\n" +
				`{"table":"A","address":"2001:db8::1","ttl":0,"times":[1.000001]}` + "\n"},
		{"written otherwise", "", "\ufeff" + ` { "address" : "192.0.2.1" , "times" : [ 1.7e9, 1700000000.1234561 ] , "table" : "\u0053\"SH" } ` + "\r\n",
			`{"table":"S\"SH","address":"192.0.2.1","ttl":0,"times":[1700000000,1700000000.123456]}` + "\n"},
		{"no times, after all others", "", `{"table":"F","address":"192.0.2.1"}` + "\n" + line("192.0.2.2", "5"), line("192.0.2.2", "5") + line("192.0.2.1", "")},
		{"times in no order", "", line("::1", "9,5,7"), line("::1", "5,7,9")},
		{"times of several queues", "", line("::1", "5,4.999,7"), line("::1", "5,4.999,7")},
		{"into another table", "F", `{"table":"A","address":"::1","ttl":0,"times":[5]}` + "\n", line("::1", "5")},
		{"a table that needs none", "F", `{"address":"::1","times":[5]}` + "\n", line("::1", "5")},

		{"a dump", "", "src=192.0.2.1 ttl: 57 last_seen: 1000000 oldest_pkt: 3 999900, 999950, 1000000\n",
			`{"table":"F","address":"192.0.2.1","ttl":57,"times":[1767268799,1767268799.5,` + at + "]}\n"},
		{"a dump, a full ring", "", "src=2001:0db8:0000:0000:0000:0000:0000:0001 ttl: 0 last_seen: 999900 oldest_pkt: 1 999900, 999700, 999800\n",
			line("2001:db8::1", "1767268797,1767268798,1767268799")},
		{"a dump, a full ring within a second", "", "src=192.0.2.1 ttl: 0 last_seen: 999990 oldest_pkt: 1 999990, 999970, 999980\n",
			line("192.0.2.1", "1767268799.7,1767268799.8,1767268799.9")},
		{"a dump of Linux 6.11, a full ring", "", "src=192.0.2.1 ttl: 0 last_seen: 999900 oldest_pkt: 0 999800, 999900\n", line("192.0.2.1", "1767268798,1767268799")},
		{"a dump of 32 bits, before it wrapped", "", "src=192.0.2.1 ttl: 0 last_seen: 4294967196 oldest_pkt: 1 4294967196\n", line("192.0.2.1", "1767258799")},
		{"stamps from before 1970", "", "src=192.0.2.1 ttl: 0 last_seen: 9223372036854775000 oldest_pkt: 1 9223372036855775808\n", line("192.0.2.1", "0")},

		{"ipset", "", "create F hash:ip family inet hashsize 1024 maxelem 65536 timeout 300 bucketsize 12 initval 0x359d1767\n" +
			"add F 192.0.2.1 timeout 299\nadd F 192.0.2.2 timeout 0\nadd F 192.0.2.3 timeout 1 packets 1 bytes 60 comment \"its timeout 7 is\"\nadd F 192.0.2.4 timeout 4000\n",
			line("192.0.2.3", "1767268501") + line("192.0.2.1", "1767268799") + line("192.0.2.4", at) + line("192.0.2.2", "")},
		{"ipset of two families", "F", "create a hash:ip family inet timeout 10\nadd a 192.0.2.1 timeout 9\ncreate b hash:ip family inet6\nadd b 2001:db8::1 comment \"its timeout 7\"\n",
			line("192.0.2.1", "1767268799") + line("2001:db8::1", "")},
		{"ipset, a part of it", "", "add F 192.0.2.1 timeout 9\nadd F 192.0.2.2\n", line("192.0.2.1", at) + line("192.0.2.2", "")},

		{"a list", "", "# bad ones\n192.0.2.1\n\n2001:db8::1 # a note\n192.0.2.2/32;\n::ffff:192.0.2.3\n", line("192.0.2.1", "") + line("2001:db8::1", "") + line("192.0.2.2", "") + line("::ffff:192.0.2.3", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testLoad(t, c.table)
			if err := l.Read("dir/F", strings.NewReader(c.text), noon); err != nil {
				t.Fatal(err)
			}
			if got := decoded(t, l); got != c.want {
				t.Errorf("it is\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// TestProblems reads files that are wrong. All that is wrong is said, and nothing is
// left to be imported.
func TestProblems(t *testing.T) {
	const good = `{"table":"T","address":"::1","ttl":0,"times":[1]}` + "\n"
	for _, c := range []struct{ name, file, text, want string }{
		{"two lines of a list", "F", "192.0.2.1\n192.0.2.0/24\nhost.example\n",
			"F:2: 192.0.2.0/24 is a prefix of many addresses: a table has single ones\nF:3: \"host.example\" is no address: one as 192.0.2.1 or 2001:db8::1 is needed"},
		{"a zone", "F", "fe80::1%lo\n", `F:1: "fe80::1%lo" is no address: `},
		{"no table", "-", "192.0.2.1\n192.0.2.2\n", "-:1: no table is named: name it by --table\nnothing"},
		{"a dump without a table", "-", "src=192.0.2.1 ttl: 0 last_seen: 5 oldest_pkt: 1 5\n", "-:1: no table is named"},
		{"a dump that is cut", "F", "src=192.0.2.1 ttl: 0 last_seen: 5 oldest_pkt: 1 5\nsrc=192.0.2.2 ttl: 0 last_s\n", `F:2: "src=192.0.2.2 ttl: 0 last_s" is no line of a table's file`},
		{"JSON without a table", "F", `{"address":"::1"}`, "F:1: no table is named"},
		{"an unknown field", "F", good + `{"table":"T","address":"::1","time":[1]}`, `F:2: "time" is no field: an address has table, address, ttl and times`},
		{"no object", "F", "{\n", "F:1: this is no JSON object in one line (jq -c)"},
		{"two objects", "F", good[:len(good)-1] + good, "F:1: there is more after the object"},
		{"a wrong type", "F", `{"table":"T","address":"::1","ttl":256}`, `F:1: "number 256" is not what "ttl" may be`},
		{"no address", "F", `{"table":"T","times":[1]}`, `F:1: "" is no address`},
		{"a time that is a word", "F", `{"table":"T","address":"::1","times":["now"]}`, `F:1: `},
		{"a time before 1970", "F", `{"table":"T","address":"::1","times":[-1]}`, "F:1: -1 is no time: seconds since 1970 are needed"},
		{"milliseconds", "F", `{"table":"T","address":"::1","times":[1796000000000]}`, "F:1: 1796000000000 is no time"},
		{"another kind of set", "F", "create n hash:net family inet\nadd n 192.0.2.0/24\nadd n 10.0.0.0/8\n", "F:1: set n is of type hash:net: a table has single addresses, as hash:ip\nnothing"},
		{"a set of networks", "F", "create n hash:ip family inet netmask 24\nadd n 192.0.2.0\n", "F:1: set n has a netmask"},
		{"an entry with a port", "F", "add n 192.0.2.1,tcp:80\n", `F:1: "192.0.2.1,tcp:80" is no address`},
		{"another command", "F", "add n 192.0.2.1\nflush n\n", `F:2: "flush n" is no line of 'ipset save'`},
		{"a timeout that is a word", "F", "add n 192.0.2.1 timeout soon\n", `F:1: timeout "soon": a number of seconds is needed`},
		{"a timeout that is cut", "F", "add n 192.0.2.1 timeout\n", "F:1: the timeout is missing"},
		{"very many", "F", strings.Repeat("x\n", 60), "F:50: \"x\" is no address: one as 192.0.2.1 or 2001:db8::1 is needed\nand 10 other lines\nnothing was imported"},
		{"a long line", "F", "::1\n" + strings.Repeat("x", maxLine+1), "F:2: the line has more than 4194304 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testLoad(t, "")
			if err := l.Read(c.file, strings.NewReader(c.text), noon); err != nil {
				t.Fatal(err)
			}
			if got := decoded(t, l); !strings.Contains(got, c.want) || !strings.HasSuffix(got, "\nnothing was imported") {
				t.Errorf("it is\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// TestReadFails has a file that cannot be read to its end.
func TestReadFails(t *testing.T) {
	l := testLoad(t, "")
	broken := io.MultiReader(strings.NewReader("::1\n"), failing{})
	if err := l.Read("F", broken, noon); !errors.Is(err, errBroken) || err.Error() != "F: broken" {
		t.Error(err)
	}
}

var errBroken = errors.New("broken")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// TestDecodeErrors has bodies that Load does not make.
func TestDecodeErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no tables", "x\n", "line 1: the tables are missing"},
		{"a bad record", "{\"tables\":[\"T\"]}\n\n", "line 2: this is no JSON object"},
		{"refused tables", "{\"tables\":[\"bad\"]}\n", "broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin := func(tables []string) error {
				if tables[0] == "bad" {
					return errBroken
				}
				return nil
			}
			err := Decode(strings.NewReader(c.text), begin, func(*Record) error { return nil })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// FuzzRead reads any file. What was read is sent, and is the same when it is read
// again. What is read fast is what is read slowly.
func FuzzRead(f *testing.F) {
	f.Add([]byte("192.0.2.1 # x\n2001:db8::1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := testLoad(t, "")
		if err := l.Read("F", strings.NewReader(string(text)), noon); err != nil {
			t.Fatal(err)
		}
		if len(l.problems) > 0 {
			return
		}
		first := decoded(t, l)
		again := testLoad(t, "")
		if err := again.Read("-", strings.NewReader(first), noon); err != nil {
			t.Fatal(err)
		}
		if second := decoded(t, again); second != first {
			t.Errorf("read again it is\n%s, was\n%s", second, first)
		}
		for line := range strings.Lines(first) {
			line = strings.TrimSpace(line)
			var fast, slow Record
			// A space more, and it is read slowly.
			if err := slow.parse([]byte(strings.Replace(line, ":", ": ", 1))); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if fast.parseFast([]byte(line)) && fmt.Sprint(fast) != fmt.Sprint(slow) {
				t.Errorf("%s is read as %v and %v", line, fast, slow)
			}
		}
	})
}
