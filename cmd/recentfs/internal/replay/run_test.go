package replay

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// packet is UDP from 192.0.2.7 to 192.0.2.1, port 53.
const packet = "\x45\x00\x00\x1c\x00\x01\x00\x00\x3d\x11\x00\x00\xc0\x00\x02\x07\xc0\x00\x02\x01\x9c\x40\x00\x35\x00\x08\x00\x00"

// pcapOf makes a capture file of raw IP packets, a second apart.
func pcapOf(packets int) []byte {
	const rawIP = 101
	le := binary.LittleEndian
	b := le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, 0xa1b2c3d4), 2), 4)
	for _, v := range []uint32{0, 0, 65535, rawIP} {
		b = le.AppendUint32(b, v)
	}
	for i := range packets {
		for _, v := range []uint32{1_700_000_000 + uint32(i), 0, uint32(len(packet)), uint32(len(packet))} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, packet...)
	}
	return b
}

func newReplay(t *testing.T, rules string, queue *uint16) (*Replay, error) {
	t.Helper()
	p := recent.DefaultParams(recent.Classic)
	file, err := ruleset.Parse("rules", []byte("*recent\n"+rules+"COMMIT\n"), p)
	if err != nil {
		t.Fatal(err)
	}
	return New(file, p, queue)
}

const twoQueues = ":QUEUE3 ACCEPT\n:QUEUE5 DROP\n-A QUEUE3 -m recent --set --name seen\n"

// TestNew has the packets go to the queue that is asked for.
func TestNew(t *testing.T) {
	number := func(n uint16) *uint16 { return &n }
	for _, c := range []struct {
		name, rules string
		queue       *uint16
		want        uint16
		err         string
	}{
		{"the lowest", twoQueues, nil, 3, ""},
		{"another", twoQueues, number(5), 5, ""},
		{"one without a chain", twoQueues, number(0), 0, "the rules have no chain for queue 0: name one that they have by --queue"},
		{"no queue at all", ":user - [0:0]\n", nil, 0, "the rules have no chain for a queue: add one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := newReplay(t, c.rules, c.queue)
			if c.err != "" {
				if r != nil || err == nil || !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("%v, %v, want %q", r, err, c.err)
				}
				return
			}
			if err != nil || r.queue != c.want {
				t.Fatalf("queue %v, %v, want %d", r, err, c.want)
			}
			r.rules.Close()
		})
	}
}

// TestRun prints what a capture file has shown, also if it breaks off.
func TestRun(t *testing.T) {
	whole := pcapOf(2)
	for _, c := range []struct {
		name string
		file []byte
		want []string // nothing is printed if there are none
		err  string   // the file's name is before it
	}{
		{"whole", whole, []string{"# 2 packets, 2 accept", "[2:56] -A QUEUE3 ", "192.0.2.7  2 "}, ""},
		{"it breaks off in the second packet", whole[:len(whole)-1], []string{"# 1 packets, 1 accept", "[1:28] -A QUEUE3 ", "192.0.2.7  1 "}, "packet 2: the file ends in the middle of it"},
		{"it breaks off in the first", pcapOf(1)[:30], nil, "packet 1: the file ends in the middle of it"},
		{"no packets", pcapOf(0), []string{"# 0 packets\n", "[0:0] -A QUEUE3 ", "seen: 0 addresses"}, ""},
		{"no capture", []byte("*recent\n"), nil, "capture"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.pcap")
			if err := os.WriteFile(file, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, asJSON := range []bool{false, true} {
				r, err := newReplay(t, twoQueues, nil)
				if err != nil {
					t.Fatal(err)
				}
				var out strings.Builder
				err = r.Run(file, asJSON, &out)
				if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), file)) {
					t.Errorf("%v, want %q", err, c.err)
				}
				if (out.Len() == 0) != (c.want == nil) {
					t.Errorf("it prints %q", &out)
				}
				if asJSON {
					continue // tests/script looks at it
				}
				text := strings.Join(strings.Fields(out.String()), " ")
				for _, want := range c.want {
					if !strings.Contains(text, strings.Join(strings.Fields(want), " ")) {
						t.Errorf("%q is not in\n%s", want, &out)
					}
				}
			}
		})
	}
}

// full takes some bytes, and no more.
type full struct{ room int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	if n := f.room; len(p) > n {
		f.room = 0
		return n, errFull
	}
	f.room -= len(p)
	return len(p), nil
}

// TestFullDisk has a place for the output that gets full at any byte. Somebody must
// hear of it.
func TestFullDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(file, pcapOf(1), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string]string{"with a table": twoQueues, "without": ":QUEUE0 ACCEPT\n"} {
		for _, asJSON := range []bool{false, true} {
			run := func(w io.Writer) error {
				r, err := newReplay(t, rules, nil)
				if err != nil {
					t.Fatal(err)
				}
				return r.Run(file, asJSON, w)
			}
			var all strings.Builder
			if err := run(&all); err != nil {
				t.Fatal(err)
			}
			for room := range all.Len() {
				if err := run(&full{room}); !errors.Is(err, errFull) {
					t.Fatalf("%s, JSON %v: room for %d of %d bytes: %v", name, asJSON, room, all.Len(), err)
				}
			}
		}
	}
}
