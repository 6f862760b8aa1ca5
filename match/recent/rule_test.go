package recent

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

func TestCheckRule(t *testing.T) {
	v4mask := AllOnes
	v4mask[3] = 0
	both, classic, modern := []Compat{Classic, Modern}, []Compat{Classic}, []Compat{Modern}
	for _, c := range []struct {
		name string
		in   []Compat
		info Info
		ok   bool
	}{
		{"set", both, Info{CheckSet: Set}, true},
		{"rcheck", both, Info{CheckSet: Check}, true},
		{"update, everything", both, Info{CheckSet: Update | TTL | Reap, Seconds: 1, HitCount: 20}, true},
		{"remove", both, Info{CheckSet: Remove}, true},
		{"no action", both, Info{}, false},
		{"only modifiers", both, Info{CheckSet: TTL}, false},
		{"two actions", both, Info{CheckSet: Set | Remove}, false},
		{"four actions", both, Info{CheckSet: Set | Remove | Check | Update}, false},
		{"bit 6", both, Info{CheckSet: Set | 1<<6}, false},
		{"bit 7", both, Info{CheckSet: Check | 1<<7}, false},
		{"set with seconds", both, Info{CheckSet: Set, Seconds: 1}, false},
		{"set with hitcount", both, Info{CheckSet: Set, HitCount: 1}, false},
		{"set with rttl", both, Info{CheckSet: Set | TTL}, false},
		{"remove with seconds", both, Info{CheckSet: Remove, Seconds: 1}, false},
		{"remove with hitcount", both, Info{CheckSet: Remove, HitCount: 1}, false},
		{"remove with rttl", both, Info{CheckSet: Remove | TTL}, false},
		{"remove with reap", both, Info{CheckSet: Remove | Reap}, false},
		{"reap without seconds", both, Info{CheckSet: Check | Reap}, false},
		{"hitcount 20", both, Info{CheckSet: Check, HitCount: 20}, true},
		{"hitcount 21", classic, Info{CheckSet: Check, HitCount: 21}, false},
		{"hitcount 21", modern, Info{CheckSet: Check, HitCount: 21}, true},
		{"hitcount 65535", modern, Info{CheckSet: Check, HitCount: 65535}, true},
		{"hitcount 65536", modern, Info{CheckSet: Check, HitCount: 65536}, false},
		{"hitcount of 32 ones", both, Info{CheckSet: Check, HitCount: 1<<32 - 1}, false},
		{"name of 199 bytes", both, Info{CheckSet: Set, Name: strings.Repeat("n", 199)}, true},
		{"name of 200 bytes", both, Info{CheckSet: Set, Name: strings.Repeat("n", 200)}, false},
		{"name with a space", both, Info{CheckSet: Set, Name: "a b"}, true},
		{"name .", both, Info{CheckSet: Set, Name: "."}, false},
		{"name ..", both, Info{CheckSet: Set, Name: ".."}, false},
		{"name ...", both, Info{CheckSet: Set, Name: "..."}, true},
		{"name with /", both, Info{CheckSet: Set, Name: "a/b"}, false},
		{"name with NUL", both, Info{CheckSet: Set, Name: "a\x00"}, false},
		{"mask", classic, Info{CheckSet: Set, Mask: v4mask}, false},
		{"mask", modern, Info{CheckSet: Set, Mask: v4mask}, true},
	} {
		for _, compat := range c.in {
			info := c.info
			if info.Name == "" {
				info.Name = "t"
			}
			if info.Mask == [16]byte{} {
				info.Mask = AllOnes
			}
			err := DefaultParams(compat).CheckRule(&info)
			if (err == nil) != c.ok || err != nil && !errors.Is(err, syscall.EINVAL) {
				t.Errorf("%s, %s: %v", compat, c.name, err)
			}
		}
	}
	info := Info{CheckSet: Set, Mask: AllOnes}
	if err := DefaultParams(Classic).CheckRule(&info); err == nil {
		t.Error("an empty name is taken")
	}
}

func TestParams(t *testing.T) {
	for _, c := range []struct {
		compat Compat
		text   string
		ok     bool
	}{
		{Classic, "ip_list_tot=1", true},
		{Classic, "ip_list_tot=0", false},
		{Classic, "ip_list_tot=1073741824", true},
		{Classic, "ip_list_tot=1073741825", false},
		{Classic, "ip_list_tot=4294967296", false},
		{Classic, "ip_list_tot=-1", false},
		{Classic, "ip_list_tot=1_0", false},
		{Classic, "ip_list_tot=0x10", true},
		{Classic, "ip_pkt_list_tot=0", false},
		{Classic, "ip_pkt_list_tot=255", true},
		{Classic, "ip_pkt_list_tot=256", false},
		{Modern, "ip_pkt_list_tot=0", true},
		{Modern, "ip_pkt_list_tot=65535", true},
		{Modern, "ip_pkt_list_tot=65536", false},
		{Classic, "ip_list_perms=0644", true},
		{Classic, "ip_list_perms=600", true},
		{Classic, "ip_list_perms=0888", false},
		{Classic, "ip_list_perms=01777", false},
		{Classic, "ip_list_uid=4294967295", true},
		{Classic, "ip_list_gid=wheel", false},
		{Classic, "ip_list_hash_size=16", true},
		{Classic, "ip_list_hash=16", false},
		{Classic, "=1", false},
	} {
		p := DefaultParams(c.compat)
		name, value, _ := strings.Cut(c.text, "=")
		err := p.Set(name, value)
		if err == nil {
			err = p.Check()
		}
		if (err == nil) != c.ok {
			t.Errorf("%s, %s: %v", c.compat, c.text, err)
		}
	}
}

// TestSet sets each parameter, and nothing else.
func TestSet(t *testing.T) {
	for _, c := range []struct {
		name, value string
		change      func(*Params)
	}{
		{"ip_list_tot", "7", func(p *Params) { p.ListTot = 7 }},
		{"ip_pkt_list_tot", "7", func(p *Params) { p.PktListTot = 7 }},
		{"ip_list_perms", "600", func(p *Params) { p.Perms = 0o600 }},
		{"ip_list_perms", "0o640", func(p *Params) { p.Perms = 0o640 }},
		{"ip_list_uid", "0x7", func(p *Params) { p.UID = 7 }},
		{"ip_list_gid", "4294967295", func(p *Params) { p.GID = 1<<32 - 1 }},
		{"ip_list_hash_size", "7", func(p *Params) {}},
	} {
		got, want := DefaultParams(Classic), Params{Compat: Classic, ListTot: 100, PktListTot: 20, Perms: 0o644}
		c.change(&want)
		if err := got.Set(c.name, c.value); err != nil || got != want {
			t.Errorf("%s=%s: %+v, %v, want %+v", c.name, c.value, got, err, want)
		}
	}
	if got, want := DefaultParams(Modern), (Params{Compat: Modern, ListTot: 100, Perms: 0o644}); got != want {
		t.Errorf("modern begins with %+v, want %+v", got, want)
	}
}

// TestReasons: a refusal says what would be taken, or what to change.
func TestReasons(t *testing.T) {
	set := func(name, value string) error { p := DefaultParams(Classic); return p.Set(name, value) }
	hits := func(c Compat, n uint32) error {
		return DefaultParams(c).CheckRule(&Info{Name: "t", CheckSet: Check, HitCount: n, Mask: AllOnes})
	}
	stamps := func(c Compat) error { p := DefaultParams(c); p.PktListTot = 1 << 20; return p.Check() }
	_, compat := ParseCompat("old")
	for _, c := range []struct {
		err  error
		want string
	}{
		{set("ip_list_perms", "0888"), `ip_list_perms="0888": octal digits are needed, as in 0644`},
		{set("ip_list_tot", "many"), `ip_list_tot="many": a number from 0 to 4294967295 is needed`},
		{set("ip_lists", "1"), `parameter "ip_lists": there are ip_list_tot, ip_pkt_list_tot, ip_list_perms, ip_list_uid and ip_list_gid`},
		{hits(Classic, 21), "hitcount (21) is larger than packets to be remembered (20): raise ip_pkt_list_tot, as by -o ip_pkt_list_tot=21"},
		{hits(Classic, 255), "hitcount (255) is larger than packets to be remembered (20): raise ip_pkt_list_tot, as by -o ip_pkt_list_tot=255"},
		{hits(Classic, 256), "hitcount (256) is larger than packets to be remembered (20): --compat modern takes one up to 65535"},
		{hits(Modern, 1048576), "hitcount (1048576) is larger than allowed maximum (65535)"},
		{stamps(Classic), "ip_pkt_list_tot=1048576: an address keeps 1 to 255 stamps (--compat classic)"},
		{stamps(Modern), "ip_pkt_list_tot=1048576: an address keeps 0 to 65535 stamps (--compat modern)"},
		{checkName(strings.Repeat("n", 200)), `table name "nnnnnnnnnnnnnnnnnnnn"... has 200 bytes: it may have 199`},
		{compat, `compatibility "old": it is classic or modern`},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("%v, want %s", c.err, c.want)
		}
	}
}

// TestHashSize follows recent_mt_init: 1 << fls(ip_list_tot).
func TestHashSize(t *testing.T) {
	for tot, want := range map[uint32]uint32{1: 2, 2: 4, 3: 4, 100: 128, 127: 128, 128: 256, MaxListTot: 1 << 31} {
		if got := (Params{ListTot: tot}).HashSize(); got != want {
			t.Errorf("ip_list_tot=%d: %d, want %d", tot, got, want)
		}
	}
}

// TestRing compares the number of stamps per address with recent_mt_check.
func TestRing(t *testing.T) {
	for _, c := range []struct {
		compat         Compat
		tot, hits, ret uint32
	}{
		{Classic, 20, 0, 20},
		{Classic, 20, 20, 20},
		{Classic, 255, 3, 255},
		{Modern, 0, 0, 32},
		{Modern, 0, 1, 1},
		{Modern, 0, 4, 4},
		{Modern, 0, 5, 8},
		{Modern, 0, 33, 64},
		{Modern, 0, 65535, 65536},
		{Modern, 20, 0, 32},
		{Modern, 20, 19, 32},
		{Modern, 20, 20, 32},
		{Modern, 20, 40, 64},
		{Modern, 1, 0, 1},
	} {
		p := DefaultParams(c.compat)
		p.PktListTot = c.tot
		if got := p.Ring(c.hits); got != c.ret {
			t.Errorf("%s, ip_pkt_list_tot=%d --hitcount %d: %d stamps, want %d", c.compat, c.tot, c.hits, got, c.ret)
		}
	}
}
