package ruleset

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// option is one option of a rule, of a match or of a target.
type option struct {
	names      []string // long names, synonyms included, without --
	letter     byte     // the short name; 0: there is none
	args       int
	invertible bool
	repeatable bool // may be given more than once
	read       func(l *line, g *given) error
}

// given is an option as it stands in a line.
type given struct {
	name     string // as it is written, for errors
	inverted bool
	arg      [2]string
}

// loaded is a match or a target whose options can be given from here on. Of
// several -m of one name the last gets them.
type loaded struct {
	match   *matchExtension // nil: a target
	options []option
}

// find looks an option up as getopt_long does: the exact name first, else an
// abbreviation that fits one option only. A rule's own options come first,
// then those of the extension that was loaded last.
func (l *line) find(word string) (*option, error) {
	if !strings.HasPrefix(word, "--") {
		for i := range ruleOptions {
			if ruleOptions[i].letter == word[1] {
				return &ruleOptions[i], nil
			}
		}
		return nil, errUnknown
	}
	name := word[2:]
	var fit []*option
	for o := range l.offered {
		for _, n := range o.names {
			if n == name {
				return o, nil
			}
			if strings.HasPrefix(n, name) && (len(fit) == 0 || fit[len(fit)-1] != o) {
				fit = append(fit, o)
			}
		}
	}
	switch {
	case len(fit) == 0 || name == "":
		return nil, errUnknown
	case len(fit) > 1:
		return nil, fmt.Errorf("%s: it may be --%s or --%s, write the name in full", word, fit[0].names[0], fit[1].names[0])
	}
	return fit[0], nil
}

var errUnknown = errors.New("unknown option")

// offered goes through the options that can be given here, in order of
// precedence: xtables_merge_options.
func (l *line) offered(yield func(*option) bool) {
	for i := range ruleOptions {
		if !yield(&ruleOptions[i]) {
			return
		}
	}
	for i := len(l.loaded) - 1; i >= 0; i-- {
		options := l.loaded[i].options
		for j := range options {
			if !yield(&options[j]) {
				return
			}
		}
	}
}

// read goes through the words of the line: do_parse.
func (l *line) read() error {
	inverted := false
	for l.next < len(l.words) {
		word := l.words[l.next]
		l.next++
		if word == "!" {
			if inverted {
				return errors.New("two ! in a row: leave one out")
			}
			inverted = true
			continue
		}
		if word == "--" && l.next == len(l.words) {
			break // getopt: no option follows
		}
		if len(word) < 2 || word[0] != '-' || word == "--" {
			return fmt.Errorf("argument %q belongs to no option: leave it out, or quote text that has spaces", word)
		}
		if err := l.readOption(word, inverted); err != nil {
			return err
		}
		inverted = false
	}
	if inverted {
		return errors.New("nothing follows the !: put it before an option")
	}
	return nil
}

func (l *line) readOption(word string, inverted bool) error {
	word, value, hasValue := l.cutValue(word)
	o, err := l.find(word)
	if errors.Is(err, errUnknown) && l.loadProtocol() {
		o, err = l.find(word)
	}
	if errors.Is(err, errUnknown) && l.rule.protocol == unix.IPPROTO_DCCP {
		return fmt.Errorf("%s: -p dccp has no options here: write ports as -m multiport --dports, and put other options on the kernel's rule that queues", word)
	}
	if errors.Is(err, errUnknown) {
		return l.unknownOption(word)
	}
	if err != nil {
		return err
	}
	g := &given{name: word, inverted: inverted}
	if hasValue && o.args == 0 {
		return fmt.Errorf("%s takes no value: leave %q out", word, value)
	}
	for i := range o.args {
		if i == 0 && hasValue {
			g.arg[0] = value
			continue
		}
		if err := l.readArg(o, g, i); err != nil {
			return err
		}
	}
	if g.inverted && !o.invertible {
		return fmt.Errorf("%s cannot be inverted: leave the ! out", word)
	}
	if l.given[o] && !o.repeatable {
		return fmt.Errorf("%s is given twice: leave one out", word)
	}
	l.given[o] = true
	return o.read(l, g)
}

// cutValue takes --option=value and -ovalue apart. Short options without a
// value may share a - with what follows: getopt_long.
func (l *line) cutValue(word string) (name, value string, ok bool) {
	if strings.HasPrefix(word, "--") {
		return strings.Cut(word, "=")
	}
	name, value = word[:2], word[2:]
	if o, err := l.find(name); value != "" && value[0] != '-' && err == nil && o.args == 0 {
		l.next--
		l.words[l.next] = "-" + value
		return name, "", false
	}
	return name, value, value != ""
}

// readArg takes the next word for an argument. Before the first one there may
// be a !, as before iptables 1.4.3.
func (l *line) readArg(o *option, g *given, i int) error {
	if i == 0 && o.invertible && l.next < len(l.words) && l.words[l.next] == "!" {
		if g.inverted {
			return fmt.Errorf("%s has a ! before and after it: leave one out", g.name)
		}
		g.inverted = true
		l.next++
	}
	if l.next == len(l.words) {
		return fmt.Errorf("%s needs a value after it", g.name)
	}
	g.arg[i] = l.words[l.next]
	l.next++
	return nil
}
