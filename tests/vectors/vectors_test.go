// Package vectors replays transcripts of the kernel module's own answers.
package vectors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// vector is one line of a transcript: what was asked, and what the module answered.
type vector struct {
	Op string `json:"op"`

	ListTot    uint32 `json:"ip_list_tot"`
	PktListTot uint32 `json:"ip_pkt_list_tot"`
	Perms      string `json:"ip_list_perms"`
	UID        uint32 `json:"ip_list_uid"`
	GID        uint32 `json:"ip_list_gid"`
	HZ         uint32 `json:"hz"`

	Now string `json:"now"`

	Rule     int      `json:"rule"`
	Name     string   `json:"name"`
	CheckSet uint8    `json:"check_set"`
	Options  []string `json:"options"`
	Invert   bool     `json:"invert"`
	Side     string   `json:"side"`
	Seconds  uint32   `json:"seconds"`
	HitCount uint32   `json:"hit_count"`

	Family string `json:"family"`
	Src    string `json:"src"`
	Dst    string `json:"dst"`
	TTL    uint8  `json:"ttl"`
	Out    bool   `json:"out"`
	Socket bool   `json:"socket"`

	Table      string `json:"table"`
	Offset     int64  `json:"offset"`
	DataHex    string `json:"data_hex"`
	Data       string `json:"data"`
	WantOffset int64  `json:"want_offset"`

	Want json.RawMessage `json:"want"`
}

// TestVectors replays the transcripts of testdata, and those of the directory
// that RECENTFS_VECTORS names.
func TestVectors(t *testing.T) {
	dirs := []string{"testdata"}
	if dir := os.Getenv("RECENTFS_VECTORS"); dir != "" {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no *.jsonl in %s (%v)", dir, err)
		}
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) { replayVectors(t, file) })
		}
	}
}

func replayVectors(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := module{rules: make(map[int]*recent.Rule)}
	sc := bufio.NewScanner(bytes.NewReader(text))
	sc.Buffer(nil, 1<<24)
	for n := 1; sc.Scan(); n++ {
		var v vector
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		var want any
		if v.Want != nil {
			if err := json.Unmarshal(v.Want, &want); err != nil {
				t.Fatalf("%s:%d: want: %v", file, n, err)
			}
		}
		got := m.do(t, &v)
		if !equal(got, want) {
			t.Fatalf("%s:%d: %s\ngot  %v\nwant %v", file, n, sc.Bytes(), got, want)
		}
	}
	if err := sc.Err(); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// module is one life of the module, as a vector file drives it.
type module struct {
	clock *jiffies.Manual
	reg   *recent.Registry
	rules map[int]*recent.Rule
}

// do does what one line asks and returns the answer in the form of its want.
func (m *module) do(t *testing.T, v *vector) any {
	switch v.Op {
	case "init":
		p := recent.Params{ListTot: v.ListTot, PktListTot: v.PktListTot, UID: v.UID, GID: v.GID}
		if err := p.Set("ip_list_perms", v.Perms); err != nil {
			t.Fatal(err)
		}
		m.clock = jiffies.NewManual(0, v.HZ)
		module, err := recent.NewModule(p, m.clock)
		if err == nil {
			m.reg = module.NewRegistry(nil)
		}
		return okOr(t, err)
	case "jiffies":
		m.clock.Set(jiffies.Jiffies(number(t, v.Now)))
		return nil
	case "check":
		info := recent.Info{
			Name: v.Name, CheckSet: recent.Flags(v.CheckSet), Invert: v.Invert,
			Seconds: v.Seconds, HitCount: v.HitCount, Mask: recent.AllOnes,
		}
		if v.Side == "dest" {
			info.Side = recent.Dest
		}
		rules, err := m.reg.CheckAll([]recent.Info{info})
		if err == nil {
			m.rules[v.Rule] = rules[0]
		}
		return okOr(t, err)
	case "destroy":
		m.reg.Destroy(m.rules[v.Rule])
		delete(m.rules, v.Rule)
		return "ok"
	case "packet":
		family, src, dst := address(t, v)
		var b recent.Batch
		defer b.End()
		if m.rules[v.Rule].Match(&b, m.clock.Now(), family, &src, &dst, v.TTL, v.Out && !v.Socket) {
			return "match"
		}
		return "nomatch"
	case "write":
		return m.write(t, v)
	case "dump":
		return dump(t, m.reg.Table(v.Table))
	case "ls":
		return m.ls()
	}
	t.Fatalf("unknown op %q", v.Op)
	return nil
}

func (m *module) write(t *testing.T, v *vector) any {
	data, err := hex.DecodeString(v.DataHex)
	if err != nil {
		t.Fatal(err)
	}
	n, next, err := m.reg.Table(v.Table).Write(data, v.Offset)
	if next != v.WantOffset {
		t.Errorf("write %q at %d leaves the position at %d, want %d", data, v.Offset, next, v.WantOffset)
	}
	if err != nil {
		return errno(t, err)
	}
	return float64(n)
}

func (m *module) ls() any {
	list := []any{}
	for _, table := range m.reg.Tables() {
		a := table.Attr()
		list = append(list, map[string]any{
			"name": table.Name(), "perms": "0" + strconv.FormatUint(uint64(a.Perms), 8),
			"uid": float64(a.UID), "gid": float64(a.GID),
		})
	}
	slices.SortFunc(list, func(a, b any) int {
		return cmp.Compare(a.(map[string]any)["name"].(string), b.(map[string]any)["name"].(string))
	})
	return list
}

// dump reads a table as cat does and returns its lines, sorted.
func dump(t *testing.T, table *recent.Table) any {
	var text []byte
	c := table.Cursor()
	buf := make([]byte, 8192)
	for {
		n, err := c.ReadAt(buf, int64(len(text)))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		text = append(text, buf[:n]...)
	}
	list := []any{}
	for line := range strings.Lines(string(text)) {
		list = append(list, strings.TrimSuffix(line, "\n"))
	}
	sortLines(list)
	return list
}

func sortLines(list []any) {
	slices.SortFunc(list, func(a, b any) int { return cmp.Compare(a.(string), b.(string)) })
}

// equal compares an answer with a want; a dump's lines may come in any order.
func equal(got, want any) bool {
	if list, ok := want.([]any); ok && len(list) > 0 {
		if _, lines := list[0].(string); lines {
			sortLines(list)
		}
	}
	g, gerr := json.Marshal(got)
	w, werr := json.Marshal(want)
	return gerr == nil && werr == nil && bytes.Equal(g, w)
}

func address(t *testing.T, v *vector) (family uint8, src, dst [16]byte) {
	if v.Family == "ipv4" {
		s, d := netip.MustParseAddr(v.Src).As4(), netip.MustParseAddr(v.Dst).As4()
		copy(src[:], s[:])
		copy(dst[:], d[:])
		return unix.NFPROTO_IPV4, src, dst
	}
	if v.Family != "ipv6" {
		t.Fatalf("family %q", v.Family)
	}
	return unix.NFPROTO_IPV6, netip.MustParseAddr(v.Src).As16(), netip.MustParseAddr(v.Dst).As16()
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func okOr(t *testing.T, err error) any {
	if err == nil {
		return "ok"
	}
	return errno(t, err)
}

func errno(t *testing.T, err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		t.Fatalf("not an errno: %v", err)
	}
	return unix.ErrnoName(e)
}
