// Package ruleset reads rules in the form of iptables-save and gives packets
// their verdicts.
//
// The table is "*recent". Its built-in chains are QUEUE0, QUEUE1, ... or ranges
// such as QUEUE0-3, one for each NFQUEUE number. Reading and printing follow
// iptables 1.8.9 (iptables-restore, iptables-save and its extensions). The walk
// through the chains follows ipt_do_table of net/ipv4/netfilter/ip_tables.c. A
// rule stands for both families unless something in it belongs to one: -4, -6,
// an address, ICMP, -m ttl, -f, a mask.
//
// The text differs from what iptables takes and prints:
//   - A rule that could never match is refused if the printed rule would match.
//   - A string or a port that iptables or the kernel would cut is refused, but a
//     log prefix is cut.
//   - A quote that stays open is refused.
//   - ICMP, -m ttl, or a mask, in a rule of the other family is refused.
//   - A host name is refused, also before a mask of 0, and so is a zone.
//   - Any loop between chains is refused, not only one that packets can reach.
//   - "!" may also follow its option, as before iptables 1.4.3.
//   - The value of -p needs no space before it.
//   - A table's name that would not read back is printed in quotes.
//   - --seconds is printed without a sign.
//
// TestLiveRules compares with the kernel and holds an example of each. Chains
// that call each other so often that one packet could make more than maxVisits
// visits are refused as well.
//
// Each match and each target with options has a file of its own. A new match is
// a file match_NAME.go and a line in matches.
package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"recentfs/match/recent"
)

// tableName is the one table that a file holds.
const tableName = "recent"

// File is the rules of a file as they were read. It does not change.
type File struct {
	name   string  // for errors
	chains []chain // the built-in ones by number, then the others by name
	depth  int     // how many jumps can be nested
}

// Parse reads rules. Every error begins with "NAME:LINE: ". Parse touches no
// table, but checks the rules against p, so that Load fails only for lack of
// memory.
func Parse(name string, text []byte, p recent.Params) (*File, error) {
	r := &reader{params: p, file: &File{name: name}, byName: make(map[string]int)}
	n := 0
	for text := range strings.Lines(string(text)) {
		n++
		if err := r.readLine(n, strings.TrimSuffix(text, "\n")); err != nil {
			return nil, r.file.at(n, err)
		}
	}
	if err := r.end(); err != nil {
		return nil, r.file.at(n+1, err)
	}
	r.file.sort()
	r.file.weigh(r.params)
	if line, err := r.file.check(); err != nil {
		return nil, r.file.at(line, err)
	}
	return r.file, nil
}

// at adds the file and the line to an error.
func (f *File) at(line int, err error) error {
	return fmt.Errorf("%s:%d: %w", f.name, line, err)
}

// Queues are the NFQUEUE numbers that have a chain, in ascending order.
func (f *File) Queues() []uint16 {
	var all []uint16
	for _, c := range f.chains {
		for n := int(c.first); c.builtin && n <= int(c.last); n++ {
			all = append(all, uint16(n))
		}
	}
	return all
}

// reader reads a file line by line: ip46tables_restore_main.
type reader struct {
	params recent.Params
	file   *File
	byName map[string]int // index into file.chains
	state  state
}

// state is where in the file the reader is.
type state uint8

const (
	beforeTable state = iota
	inTable
	afterTable
)

func (r *reader) readLine(n int, text string) error {
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		return fmt.Errorf("character %q: a line holds printable text, spaces and tabs, and ends with a newline alone", text[i])
	}
	text = strings.Trim(text, " \t")
	switch {
	case text == "" || text[0] == '#':
		return nil
	case r.state == afterTable:
		return errors.New("text after COMMIT: a file holds one table, leave the rest out")
	case text[0] == '*':
		return r.readTable(text[1:])
	case r.state == beforeTable:
		return fmt.Errorf("a rule outside a table: begin the table with a line *%s", tableName)
	case text == "COMMIT":
		r.state = afterTable
		return nil
	case text[0] == ':':
		return r.readChain(text[1:])
	}
	return r.readCommand(n, text)
}

// isControl reports whether a character may not be in a line: Trim and split
// know spaces and tabs only.
func isControl(c rune) bool { return c < ' ' && c != '\t' }

func (r *reader) readTable(name string) error {
	if words := strings.Fields(name); len(words) > 0 {
		name = words[0]
	}
	if r.state == inTable {
		return fmt.Errorf("*%s inside *%s: end the table with COMMIT", name, tableName)
	}
	if name != tableName {
		return fmt.Errorf("table *%s is the kernel's: only *%s is read here, use iptables-restore for the others", name, tableName)
	}
	r.state = inTable
	return nil
}

func (r *reader) end() error {
	switch r.state {
	case beforeTable:
		return fmt.Errorf("no table: the rules stand between a line *%s and a line COMMIT", tableName)
	case inTable:
		return errors.New("the table has no end: put a line COMMIT after its last rule")
	}
	return nil
}

// readChain declares a chain: ":NAME POLICY [packets:bytes]". The counters are
// checked and not kept, as by iptables-restore without -c.
func (r *reader) readChain(text string) error {
	word := strings.Fields(text)
	if len(word) < 2 || len(word) > 3 {
		return errors.New("a chain is declared as :QUEUE0 ACCEPT [0:0], or as :name - [0:0]")
	}
	if len(word) == 3 {
		if rest, err := counters(word[2]); err != nil || rest != "" {
			return fmt.Errorf("counters %q of chain %s: they read [packets:bytes]", word[2], word[0])
		}
	}
	return r.declare(word[0], word[1])
}

// readCommand reads the line of a rule, or -N or -P.
func (r *reader) readCommand(n int, text string) error {
	if text[0] == '[' {
		rest, err := counters(text)
		if err != nil {
			return err
		}
		text = rest
	}
	words, err := split(text)
	if err != nil {
		return err
	}
	l := &line{reader: r, words: words, given: make(map[*option]bool), rule: rule{line: n}}
	if err := l.read(); err != nil {
		return err
	}
	return l.carryOut()
}
