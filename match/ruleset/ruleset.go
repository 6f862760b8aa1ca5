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
//   - -m icmp, -m icmp6, -m ttl, or a mask, in a rule of the other family is
//     refused.
//   - -p mptcp, whose number no packet has, is refused, and so is a port of -p
//     dccp without -m multiport.
//   - A device with a space or a quote in its name is refused.
//   - A second *recent, which would replace the first, is refused.
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
	"fmt"

	"recentfs/match/recent"
)

// tableName is the one table that a file holds.
const tableName = "recent"

// File is the rules of a file as they were read. It does not change.
type File struct {
	name   string  // for errors
	chains []chain // the built-in ones by number, then the others by name
	depth  int     // how many jumps can be nested
	others []otherTable
}

// Parse reads rules. An error has a line for each fault of the file, in the
// file's order: "NAME:LINE: what and what to do". Parse touches no table, but
// checks the rules against p, so that Load fails only for lack of memory.
func Parse(name string, text []byte, p recent.Params) (*File, error) {
	r := &reader{params: p, file: &File{name: name}, byName: make(map[string]int), problems: problems{said: make(map[string]int)}}
	r.read(text)
	r.file.others = r.others
	r.file.sort()
	r.file.weigh(r.params)
	r.file.check(&r.problems)
	if err := r.in(r.file); err != nil {
		return nil, err
	}
	return r.file, nil
}

// at adds the file and the line to an error.
func (f *File) at(line int, err error) error {
	return fmt.Errorf("%s:%d: %w", f.name, line, err)
}

// PassedOver says of each of the kernel's tables in the file that its rules are
// not at work here.
func (f *File) PassedOver() []string {
	var all []string
	for _, t := range f.others {
		all = append(all, fmt.Sprintf("%s:%d: table *%s is passed over, it is the kernel's: put it to work by sed '/^\\*%s/,/^COMMIT/d' %s | iptables-restore",
			f.name, t.line, t.name, tableName, f.name))
	}
	return all
}

// Tables are the names of the tables that the rules refer to.
func (f *File) Tables() map[string]bool {
	names := make(map[string]bool)
	f.eachRecent(func(_ *match, m *recentMatch) { names[m.info.Name] = true })
	return names
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
