package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/match/recent"
)

func TestParamFlags(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "recent.conf")
	if err := os.WriteFile(conf, []byte(`# limits
options nf_conntrack hashsize=1
options ipt_recent ip_list_tot=7 \
  ip_pkt_list_tot=9
options xt-recent ip_list_perms="0600"
options xt_recent
blacklist pcspkr
options xt_recent ip_list_gid=3 \`), 0o600); err != nil {
		t.Fatal(err)
	}
	classic, modern := recent.DefaultParams(recent.Classic), recent.DefaultParams(recent.Modern)
	with := func(p recent.Params, change func(*recent.Params)) recent.Params {
		change(&p)
		return p
	}
	for _, c := range []struct {
		name  string
		flags paramFlags
		want  recent.Params
		err   string
	}{
		{"none", paramFlags{compat: "classic"}, classic, ""},
		{"modern", paramFlags{compat: "modern"}, modern, ""},
		{"neither", paramFlags{compat: "new"}, classic, `--compat: compatibility "new": it is classic or modern`},
		{"several", paramFlags{compat: "classic", options: []string{"ip_list_tot=5,ip_list_uid=6", "ip_list_tot=8"}},
			with(classic, func(p *recent.Params) { p.ListTot, p.UID = 8, 6 }), ""},
		{"no value", paramFlags{compat: "classic", options: []string{"ip_list_tot"}}, classic, "-o ip_list_tot: name=value is needed"},
		{"no such", paramFlags{compat: "classic", options: []string{"x=1"}}, classic, `-o parameter "x": there are ip_list_tot`},
		{"refused by the module", paramFlags{compat: "classic", options: []string{"ip_pkt_list_tot=256"}}, classic, "ip_pkt_list_tot=256: an address keeps 1 to 255 stamps"},
		{"file", paramFlags{compat: "classic", modprobeConf: conf},
			with(classic, func(p *recent.Params) { p.ListTot, p.PktListTot, p.Perms, p.GID = 7, 9, 0o600, 3 }), ""},
		{"file, then -o", paramFlags{compat: "classic", modprobeConf: conf, options: []string{"ip_list_tot=8"}},
			with(classic, func(p *recent.Params) { p.ListTot, p.PktListTot, p.Perms, p.GID = 8, 9, 0o600, 3 }), ""},
		{"no file", paramFlags{compat: "classic", modprobeConf: conf + "x"}, classic, "no such file"},
	} {
		got, err := c.flags.params()
		switch {
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v, want %s", c.name, err, c.err)
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}

	// A reload reads the file again, and tells its parameters from those of -o.
	flags := paramFlags{compat: "classic", modprobeConf: conf, options: []string{"ip_list_tot=8"}}
	if got, err := flags.read(); err != nil || got.ListTot != 8 || got.File.ListTot != 7 || got.PktListTot != 9 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, c := range []struct{ text, err string }{
		{"\noptions xt_recent ip_list_tot=x\n", conf + ":2: ip_list_tot"},
		{"options xt_recent ip_pkt_list_tot=0\n", conf + ": ip_pkt_list_tot=0: "},
	} {
		if err := os.WriteFile(conf, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := flags.read(); err == nil || !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
