package report

import (
	"strings"
	"testing"
	"time"
)

var noon = Moment{Now: 1000_000, HZ: 250, Wall: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)}

func TestRead(t *testing.T) {
	text := "src=192.0.2.1 ttl: 64 last_seen: 999750 oldest_pkt: 2 999000, 999750\n" +
		// The ring has wrapped: the first place holds the latest stamp.
		"src=2001:0db8:0000:0000:0000:0000:0000:0001 ttl: 0 last_seen: 999999 oldest_pkt: 1 999999, 985000, 999998\n" +
		"src=192.0.2.2 ttl: 1 last_seen: 1000001 oldest_pkt: 1 1000001\n"
	entries, err := Read(strings.NewReader(text), noon)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := Print(&out, "ssh", entries); err != nil {
		t.Fatal(err)
	}
	want := `ssh: 3 addresses
  ADDRESS      HITS  FIRST SEEN                     LAST SEEN                    TTL
  192.0.2.2    1     2026-01-02 12:00:00  0s ago    2026-01-02 12:00:00  0s ago  1
  2001:db8::1  3     2026-01-02 11:59:00  1m00s ago  2026-01-02 11:59:59  0s ago  0
  192.0.2.1    2     2026-01-02 11:59:56  4s ago    2026-01-02 11:59:59  1s ago  64
`
	if got, want := strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " "); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if len(entries[1].Stamps) != 3 || entries[1].Stamps[1] != 985000 {
		t.Errorf("stamps %v are not in the order of the line", entries[1].Stamps)
	}
}

func TestReadNoTable(t *testing.T) {
	for _, text := range []string{
		"\n", "hello\n", "src=1.2.3.4\n",
		"src=1.2.3 ttl: 1 last_seen: 1 oldest_pkt: 1 1\n",
		"src=1.2.3.4 ttl: 256 last_seen: 1 oldest_pkt: 1 1\n",
		"src=1.2.3.4 ttl: 1 last_seen: x oldest_pkt: 1 1\n",
		"src=1.2.3.4 ttl: 1 last_seen: 1 oldest_pkt: 1 1, y\n",
	} {
		if e, err := Read(strings.NewReader(text), noon); err == nil {
			t.Errorf("%q is taken for %+v", text, e)
		}
	}
	if e, err := Read(strings.NewReader(""), noon); err != nil || len(e) != 0 {
		t.Errorf("an empty table: %v, %v", e, err)
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
		if got := ago(c.seconds); got != c.want {
			t.Errorf("%v seconds: %s, want %s", c.seconds, got, c.want)
		}
	}
}
