package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"recentfs/match/recent"
)

// TestModprobeConf reads files of modprobe.d(5): whose lines count, how the kernel
// reads a number, and what is said of a file.
func TestModprobeConf(t *testing.T) {
	const none = "no line of it sets a parameter"
	for _, c := range []struct {
		name, text string
		set        func(p *recent.Params)
		warn, err  string // FILE is its name
	}{
		{"an option", "options xt_recent ip_list_tot=5\n", func(p *recent.Params) { p.ListTot = 5 }, "", ""},
		{"the last counts", "options xt_recent ip_list_tot=5\noptions ipt_recent ip_list_tot=6", func(p *recent.Params) { p.ListTot = 6 }, "", ""},
		{"octal permissions", "options xt_recent ip_list_perms=0600", func(p *recent.Params) { p.Perms = 0o600 }, "", ""},
		{"decimal permissions", "options xt_recent ip_list_perms=384", func(p *recent.Params) { p.Perms = 0o600 }, "", ""},
		{"hexadecimal permissions", "options xt_recent ip_list_perms=0x180", func(p *recent.Params) { p.Perms = 0o600 }, "", ""},
		{"more than 32 bits", "options xt_recent ip_list_perms=4294967296", nil, "", `FILE:1: ip_list_perms="4294967296": `},
		{"a line that goes on", "options xt_recent \\\n ip_list_tot=5 \\\n ip_list_uid=6\n", func(p *recent.Params) { p.ListTot, p.UID = 5, 6 }, "", ""},
		{"a line that goes on to the end", "options xt_recent ip_list_tot=5 \\", func(p *recent.Params) { p.ListTot = 5 }, "", ""},
		{"a mistake there", "options xt_recent ip_list_tot=x \\", nil, "", `FILE:1: ip_list_tot="x": `},
		{"a mistake further below", "\noptions xt_recent \\\n ip_list_tot=x\noptions xt_recent", nil, "", `FILE:3: ip_list_tot="x": `},
		{"no such parameter", "options xt_recent tot=1", nil, "", `FILE:1: parameter "tot": `},
		{"lines of DOS", "options xt_recent ip_list_tot=5\r\n", func(p *recent.Params) { p.ListTot = 5 }, "", ""},
		{"a long line", "# " + strings.Repeat("x", 1<<17) + "\noptions xt_recent ip_list_tot=5\n", func(p *recent.Params) { p.ListTot = 5 }, "", ""},
		{"empty", "", nil, none, ""},
		{"a comment", "# options xt_recent ip_list_tot=5\n", nil, none, ""},
		{"another module", "options nf_conntrack hashsize=1\n", nil, none, ""},
		{"another command", "blacklist xt_recent\nalias x xt_recent\n", nil, none, ""},
		{"a word alone", "options\n", nil, none, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "recent.conf")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			logrus.SetOutput(&log)
			defer logrus.SetOutput(os.Stderr)
			want := recent.DefaultParams(recent.Classic)
			if c.set != nil {
				c.set(&want)
			}
			got := recent.DefaultParams(recent.Classic)
			err := readModprobeConf(&got, file)
			switch {
			case c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), strings.ReplaceAll(c.err, "FILE", file))):
				t.Errorf("%v, want %q", err, c.err)
			case c.err == "" && (err != nil || got != want):
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
			if strings.Count(log.String(), "\n") != min(1, len(c.warn)) || !strings.Contains(log.String(), c.warn) {
				t.Errorf("it says %q, want %q", &log, c.warn)
			}
		})
	}
}
