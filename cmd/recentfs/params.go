package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/match/recent"
)

// paramFlags are the flags that give the module's parameters.
type paramFlags struct {
	compat       string
	modprobeConf string
	options      []string
}

func (f *paramFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.compat, "compat", "classic", "the kernel module to behave as: classic (Linux 3.0) or modern (6.11 and later)")
	cmd.Flags().StringVar(&f.modprobeConf, "modprobe-conf", "", "`FILE` with 'options xt_recent name=value ...' lines")
	cmd.Flags().StringArrayVarP(&f.options, "option", "o", nil,
		"`name=value[,name=value]`: ip_list_tot, ip_pkt_list_tot, ip_list_perms (octal), ip_list_uid, ip_list_gid; after --modprobe-conf")
}

// params are the parameters that the flags give.
func (f *paramFlags) params() (recent.Params, error) {
	p, err := f.read()
	return p.Params, err
}

// read reads the flags: first the module's defaults, then the file, then -o. A
// reload calls it again.
func (f *paramFlags) read() (p daemon.Params, err error) {
	compat, err := recent.ParseCompat(f.compat)
	if err != nil {
		return p, fmt.Errorf("--compat: %w", err)
	}
	p.File = recent.DefaultParams(compat)
	if f.modprobeConf != "" {
		if err := readModprobeConf(&p.File, f.modprobeConf); err != nil {
			return p, runError{err}
		}
	}
	p.Params = p.File
	for _, option := range f.options {
		for pair := range strings.SplitSeq(option, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return p, fmt.Errorf("-o %s: name=value is needed, as in -o ip_list_tot=1000", pair)
			}
			if err := p.Set(name, value); err != nil {
				return p, fmt.Errorf("-o %w", err)
			}
		}
	}
	if err := p.Check(); err != nil {
		if bad := p.File.Check(); bad != nil {
			return p, runError{fmt.Errorf("%s: %w", f.modprobeConf, bad)}
		}
		return p, err
	}
	return p, nil
}

// readModprobeConf takes the parameters of xt_recent, and of ipt_recent as the
// module was called before Linux 2.6.28, from a file of modprobe.d(5).
func readModprobeConf(p *recent.Params, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%w: name a file of modprobe.d by --modprobe-conf", err)
	}
	var joined string
	found := false
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		joined += strings.TrimSuffix(line, "\r")
		if before, more := strings.CutSuffix(joined, `\`); more {
			joined = before
			if i+1 < len(lines) {
				continue
			}
		}
		ours, err := modprobeLine(p, strings.Fields(joined))
		if err != nil {
			return fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		found = found || ours
		joined = ""
	}
	if !found {
		logrus.Warnf("%s: no line of it sets a parameter: 'options xt_recent ip_list_tot=1000' is one that does", file)
	}
	return nil
}

// modprobeLine takes the parameters of a line, if it is one of the module.
func modprobeLine(p *recent.Params, words []string) (ours bool, err error) {
	if len(words) < 2 || words[0] != "options" {
		return false, nil
	}
	switch strings.ReplaceAll(words[1], "-", "_") {
	case "xt_recent", "ipt_recent":
	default:
		return false, nil
	}
	for _, word := range words[2:] {
		name, value, _ := strings.Cut(word, "=")
		value = strings.Trim(value, `"`)
		if name == "ip_list_perms" {
			// The kernel reads it as any number: octal only with a 0 before it.
			if n, err := strconv.ParseUint(value, 0, 32); err == nil {
				value = strconv.FormatUint(n, 8)
			}
		}
		if err := p.Set(name, value); err != nil {
			return true, err
		}
	}
	return true, nil
}
