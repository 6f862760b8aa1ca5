package ruleset

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"recentfs/match/recent"
)

// reader reads a file line by line: ip46tables_restore_main, with --table=recent.
type reader struct {
	problems
	params recent.Params
	file   *File
	byName map[string]int // index into file.chains
	state  state
	other  string // inOther: the table's name
	had    bool   // the table was there
	// others are the kernel's tables that were passed over, and where they began.
	others []otherTable
}

type otherTable struct {
	name string
	line int
}

// state is where in the file the reader is.
type state uint8

const (
	beforeTable state = iota
	inTable
	inOther // in another table, which is passed over
	afterTable
)

// kernelTables are the tables that belong to iptables-restore.
var kernelTables = []string{"filter", "nat", "mangle", "raw", "security"}

// read reads all lines, and notes what is wrong with each.
func (r *reader) read(text []byte) {
	if why := encoding(text); why != nil {
		r.add(1, why)
		if !bytes.HasPrefix(text, utf8BOM) {
			return // the text cannot be read
		}
		text = text[len(utf8BOM):]
	}
	n := 0
	for text := range strings.Lines(string(text)) {
		n++
		text = strings.TrimSuffix(text, "\n")
		if short, ok := strings.CutSuffix(text, "\r"); ok {
			r.add(n, errCRLF)
			text = short
		}
		if err := r.readLine(n, text); err != nil {
			r.add(n, err)
		}
	}
	r.end(n + 1)
}

var utf8BOM = []byte("\xef\xbb\xbf")

var errCRLF = once{"CR LF", errors.New(`the line ends with CR LF, as on Windows: convert the file, as by sed -i 's/\r$//' FILE`)}

// encoding refuses what editors of other systems put before the text.
func encoding(text []byte) error {
	switch {
	case bytes.HasPrefix(text, utf8BOM):
		return errors.New("the file begins with a byte order mark (BOM): save it as UTF-8 without one")
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")):
		return errors.New("the file is UTF-16: save it as UTF-8 without a byte order mark (BOM)")
	}
	return nil
}

func (r *reader) readLine(n int, text string) error {
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		return fmt.Errorf("character %q: a line holds printable text, spaces and tabs, and ends with a newline alone", text[i])
	}
	text = strings.Trim(text, " \t")
	switch {
	case text == "" || text[0] == '#':
		return nil
	case text[0] == '*' && r.state != inOther:
		return r.readTable(n, text[1:])
	case r.state == inOther:
		return r.passOver(n, text)
	case r.state == afterTable:
		return once{"text after", errors.New("text after COMMIT: put rules before it")}
	}
	if r.state == beforeTable {
		r.add(n, once{"rule outside", fmt.Errorf("a rule outside a table: begin the table with a line *%s", tableName)})
	}
	switch {
	case text == "COMMIT":
		r.state = afterTable
		return nil
	case text[0] == ':':
		return r.readChain(text[1:])
	}
	if command := program(text); command != "" {
		return once{"program before", fmt.Errorf("the line begins with %s: a file holds rules and no commands, leave out %s and -t TABLE, and begin with -A and the chain", command, command)}
	}
	return r.readCommand(n, text)
}

// isControl reports whether a character may not be in a line: Trim and split
// know spaces and tabs only.
func isControl(c rune) bool { return c < ' ' && c != '\t' }

// program is the name of iptables, as written, if a line begins with it as in a
// shell's script. Else it is empty.
func program(text string) string {
	words := strings.Fields(text)
	if len(words) > 1 && words[0] == "sudo" {
		words = words[1:]
	}
	switch path.Base(words[0]) {
	case "iptables", "iptables-legacy", "iptables-nft", "ip6tables", "ip6tables-legacy", "ip6tables-nft":
		return words[0]
	}
	return ""
}

// readTable begins a table. A name of the kernel's is noted, and the table passed
// over, as iptables-restore --table=recent does.
func (r *reader) readTable(n int, name string) error {
	if words := strings.Fields(name); len(words) > 0 {
		name = words[0]
	}
	inside := r.state == inTable
	if name == tableName && !r.had {
		r.state, r.had = inTable, true
		return nil
	}
	if name == tableName && inside {
		return fmt.Errorf("*%s inside *%s: end the table with COMMIT", name, tableName)
	}
	r.state, r.other = inOther, name
	switch {
	case inside:
		return fmt.Errorf("*%s inside *%s: end the table with COMMIT", name, tableName)
	case name == tableName:
		return fmt.Errorf("a second *%s: put its chains and rules into the first, iptables-restore would let it replace the first", name)
	case !slices.Contains(kernelTables, name):
		return fmt.Errorf("table *%s is unknown: recentfs has the table *%s alone", name, tableName)
	}
	r.others = append(r.others, otherTable{name, n})
	return nil
}

// passOver reads a line of another table.
func (r *reader) passOver(n int, text string) error {
	words := strings.Fields(text)
	if text == "COMMIT" {
		r.state = afterTable
		if !r.had {
			r.state = beforeTable
		}
	}
	if words[0] != "*"+tableName {
		return nil
	}
	if !r.had {
		r.add(n, fmt.Errorf("*%s inside *%s: end the table with COMMIT", tableName, r.other))
	}
	r.state = afterTable
	return r.readTable(n, tableName)
}

// end notes what is missing at the end of the file.
func (r *reader) end(n int) {
	switch r.state {
	case inTable:
		r.add(n, errors.New("the table has no end: put a line COMMIT after its last rule"))
	case inOther:
		r.add(n, fmt.Errorf("the table *%s has no end: put a line COMMIT after its last rule", r.other))
	}
	_, outside := r.said["rule outside"]
	if r.had || outside {
		return
	}
	for _, t := range r.others {
		r.add(t.line, fmt.Errorf("table *%s is the kernel's: only *%s is read here, use iptables-restore for the others", t.name, tableName))
	}
	if len(r.others) == 0 && len(r.all) == 0 {
		r.add(n, fmt.Errorf("no table: the rules stand between a line *%s and a line COMMIT", tableName))
	}
}

// readChain declares a chain: ":NAME POLICY [packets:bytes]". The counters are
// checked and not kept, as by iptables-restore without -c.
func (r *reader) readChain(text string) error {
	word := strings.Fields(text)
	if len(word) < 2 || len(word) > 3 {
		if len(word) > 0 {
			r.silence(chainKey(word[0]))
		}
		return errors.New("a chain is declared as :QUEUE0 ACCEPT [0:0], or as :name - [0:0]")
	}
	err := r.declare(word[0], word[1])
	if len(word) == 3 && err == nil {
		if rest, failed := counters(word[2]); failed != nil || rest != "" {
			return fmt.Errorf("counters %q of chain %s: they read [packets:bytes]", word[2], word[0])
		}
	}
	return err
}

// readCommand reads the line of a rule, -N or -P.
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
	err = l.read()
	if err == nil {
		err = l.carryOut()
	}
	if err != nil && l.command == 'N' {
		r.silence(chainKey(l.chain))
	}
	return err
}
