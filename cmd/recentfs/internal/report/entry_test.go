package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"recentfs/match/jiffies"
)

var noon = Moment{Now: 1000_000, HZ: 250, Wall: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}

// lines is a table in which one ring has wrapped: its first place holds the
// latest stamp.
const lines = "src=192.0.2.1 ttl: 64 last_seen: 999750 oldest_pkt: 2 999000, 999750\n" +
	"src=2001:0db8:0000:0000:0000:0000:0000:00af ttl: 0 last_seen: 999999 oldest_pkt: 1 999999, 985000, 999998\n" +
	"src=192.0.2.2 ttl: 1 last_seen: 1000001 oldest_pkt: 1 1000001\n"

func TestPrint(t *testing.T) {
	for _, c := range []struct {
		name, text string
		query      Query
		want       string
	}{
		{"as the file has them", lines, Query{}, `ssh
  ADDRESS       HITS   FIRST SEEN                       LAST SEEN                        TTL
  192.0.2.1     2      2026-01-02 11:59:56  4s ago      2026-01-02 11:59:59  1s ago      64
  2001:db8::af  3      2026-01-02 11:59:00  1m00s ago   2026-01-02 11:59:59  0s ago      0
  192.0.2.2     1      2026-01-02 12:00:00  0s ago      2026-01-02 12:00:00  0s ago      1
ssh: 3 addresses
`},
		{"one", lines, Query{Limit: 1}, `ssh
  ADDRESS    HITS   FIRST SEEN                       LAST SEEN                        TTL
  192.0.2.1  2      2026-01-02 11:59:56  4s ago      2026-01-02 11:59:59  1s ago      64
ssh: 1 address shown
`},
		{"an empty table", "", Query{}, "ssh: 0 addresses\n"},
		{"an address that is not in it", lines, Query{Prefix: prefix("192.0.2.3/32")}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if _, err := Print(&out, "ssh", strings.NewReader(c.text), noon, c.query); err != nil {
				t.Fatal(err)
			}
			if out.String() != c.want {
				t.Errorf("%s\nwant\n%s", &out, c.want)
			}
		})
	}
}

func TestPrintJSON(t *testing.T) {
	var out strings.Builder
	n, err := PrintJSON(&out, `s"h`, strings.NewReader(lines), noon, Query{Sort: ByAddress, Limit: 2})
	if err != nil || n != 2 {
		t.Errorf("%d objects, %v", n, err)
	}
	want := `{"table":"s\"h","address":"192.0.2.1","ttl":64,"hits":2,"first_seen":"2026-01-02T11:59:56Z",` +
		`"last_seen":"2026-01-02T11:59:59Z","first_seen_seconds_ago":4,"last_seen_seconds_ago":1,"stamps":[999000,999750]}
{"table":"s\"h","address":"192.0.2.2","ttl":1,"hits":1,"first_seen":"2026-01-02T12:00:00Z",` +
		`"last_seen":"2026-01-02T12:00:00Z","first_seen_seconds_ago":0,"last_seen_seconds_ago":0,"stamps":[1000001]}
`
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", &out, want)
	}
}

func TestNoLineOfATable(t *testing.T) {
	const good = "src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 1, 18446744073709551615"
	if e := new(Entry); !e.Parse([]byte(good)) || e.Stamps[1] != 1<<64-1 {
		t.Fatalf("%q is refused", good)
	}
	for _, text := range []string{
		"", "hello", "src=1.2.3.4", "src=",
		"src=1.2.3 ttl: 1 last_seen: 1 oldest_pkt: 1 1",
		"src=1.2.3.256 ttl: 1 last_seen: 1 oldest_pkt: 1 1",
		"src=2001:0db8:0000:0000:0000:0000:0000:000g ttl: 1 last_seen: 1 oldest_pkt: 1 1",
		"src=2001:0db8:0000:0000:0000:0000:0000.0001 ttl: 1 last_seen: 1 oldest_pkt: 1 1",
		"src=1.2.3.4 ttl: 256 last_seen: 1 oldest_pkt: 1 1",
		"src=1.2.3.4 ttl: 1 last_seen: x oldest_pkt: 1 1",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 ",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 1,",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 1, y",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 18446744073709551616",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 18446744073709551620",
	} {
		for _, print := range []func() error{
			func() error {
				return Scan(strings.NewReader(text+"\n"), func(*Entry) (bool, error) { return true, nil })
			},
			func() error { _, err := Objects(strings.NewReader(text+"\n"), noon, Query{}); return err },
		} {
			if err := print(); err == nil || !strings.Contains(err.Error(), "is no line of a table") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// TestLongestLine reads a line with as many stamps as an entry may have.
func TestLongestLine(t *testing.T) {
	line := []byte("src=192.0.2.1 ttl: 64 last_seen: 18446744073709551615 oldest_pkt: 65534 18446744073709551615")
	line = append(line, bytes.Repeat([]byte(", 18446744073709551615"), 1<<16-2)...)
	if err := Scan(bytes.NewReader(append(line, '\n')), func(e *Entry) (bool, error) {
		if e.Hits != 1<<16-1 || e.Last != jiffies.Jiffies(1<<64-1) {
			t.Errorf("%d hits, last seen at %d", e.Hits, e.Last)
		}
		return true, nil
	}); err != nil {
		t.Error(err)
	}
}

func TestAgo(t *testing.T) {
	for _, c := range []struct {
		seconds float64
		want    string
	}{
		{0, "0s ago"}, {59.9, "59s ago"}, {60, "1m00s ago"}, {3599, "59m59s ago"},
		{3600, "1h00m ago"}, {86399, "23h59m ago"}, {86400, "1d00h ago"}, {1e7, "115d17h ago"},
	} {
		if got := string(appendAgo(nil, time.Duration(c.seconds*1e9))); got != c.want {
			t.Errorf("%v seconds: %s, want %s", c.seconds, got, c.want)
		}
	}
}
