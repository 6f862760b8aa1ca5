package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/jiffies"
)

// parser reads the lines of a file. Its first line tells what it is: JSON lines, a
// dump of a table's file, what `ipset save` prints, or a list of addresses.
type parser struct {
	load   *Load
	table  string // that the file's name names, or empty
	moment time.Time
	read   func(line []byte, r *Record) (has bool, err error) // nil before the first line

	entry report.Entry
	wall  jiffies.Wall // of a dump
	sets  map[string]*ipset
}

// parse reads a line, and tells whether it has a record. Empty lines and comments
// have none.
func (p *parser) parse(line []byte, r *Record) (has bool, err error) {
	line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\ufeff")))
	if len(line) == 0 || line[0] == '#' || line[0] == ';' {
		return false, nil
	}
	if p.read == nil {
		p.begin(line)
	}
	return p.read(line, r)
}

// begin finds out what the file is.
func (p *parser) begin(line []byte) {
	word, _, _ := bytes.Cut(line, []byte(" "))
	switch {
	case line[0] == '{':
		p.read = func(line []byte, r *Record) (bool, error) { return true, r.parse(line) }
	case bytes.HasPrefix(line, []byte("src=")):
		p.read, p.wall = p.dump, p.load.Clock(p.moment)
	case string(word) == "create", string(word) == "add":
		p.read, p.sets = p.ipset, make(map[string]*ipset)
	default:
		p.read = p.list
	}
}

// dump reads a line of /proc/net/xt_recent/NAME.
func (p *parser) dump(line []byte, r *Record) (bool, error) {
	if !p.entry.Parse(line) {
		return false, fmt.Errorf("%.60q is no line of a table's file", line)
	}
	r.Table = p.table
	r.of(&p.entry, p.wall)
	return true, nil
}

// list reads an address. What follows a # or a ; is a comment.
func (p *parser) list(line []byte, r *Record) (bool, error) {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = bytes.TrimSpace(line[:i])
	}
	a, err := parseAddress(string(line))
	r.Table, r.Address, r.TTL, r.Times = p.table, a, 0, r.Times[:0]
	return true, err
}

// ipset is a set of `ipset save`.
type ipset struct {
	timeout int64 // seconds that an entry gets, 0: none
	refused bool
}

// ipset reads a line of `ipset save`. A timeout there is how many seconds are left. An
// entry got as many as its set says when it was added, so that tells when it was
// seen. It has a longer one of its own where more are left: then it is seen now. So
// a rule with --seconds of that many forgets it when the set would have.
func (p *parser) ipset(line []byte, r *Record) (bool, error) {
	words := strings.Fields(string(line))
	if len(words) < 3 || words[0] != "create" && words[0] != "add" {
		return false, fmt.Errorf("%.60q is no line of 'ipset save'", line)
	}
	timeout, err := ipsetTimeout(words[3:])
	if err != nil {
		return false, err
	}
	if words[0] == "create" {
		set := &ipset{timeout: timeout}
		p.sets[words[1]] = set
		err := checkSet(words[1], words[2], words[3:])
		set.refused = err != nil
		return false, err
	}
	set := p.sets[words[1]]
	if set == nil {
		set = new(ipset) // the file is a part of what was saved
	}
	if set.refused {
		return false, nil
	}
	if r.Address, err = parseAddress(words[2]); err != nil {
		return false, err
	}
	r.Table, r.TTL, r.Times = words[1], 0, r.Times[:0]
	if timeout > 0 {
		ago := max(0, set.timeout-timeout)
		r.Times = append(r.Times, microseconds(p.moment.Add(-time.Duration(ago)*time.Second)))
	}
	return true, nil
}

// checkSet refuses a set whose entries are not single addresses.
func checkSet(name, kind string, options []string) error {
	if kind != "hash:ip" && kind != "bitmap:ip" {
		return fmt.Errorf("set %s is of type %s: a table has single addresses, as hash:ip", name, kind)
	}
	for _, o := range options {
		if o == "netmask" || o == "bitmask" {
			return fmt.Errorf("set %s has a %s, so that its entries are networks: a table has single addresses", name, o)
		}
	}
	return nil
}

// ipsetTimeout finds the timeout among the options of a set or an entry, or 0.
func ipsetTimeout(options []string) (int64, error) {
	for i, o := range options {
		switch {
		case o == "comment" && i+1 < len(options) && strings.HasPrefix(options[i+1], `"`):
			return 0, nil // of which the words are somebody's
		case o == "timeout" && i+1 == len(options):
			return 0, errors.New("the timeout is missing")
		case o == "timeout":
			n, err := strconv.ParseUint(options[i+1], 10, 32)
			if err != nil {
				return 0, fmt.Errorf("timeout %.20q: a number of seconds is needed", options[i+1])
			}
			return int64(n), nil
		}
	}
	return 0, nil
}
