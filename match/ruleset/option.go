package ruleset

import (
	"errors"
	"fmt"
	"strings"
)

// option is one option of a rule, of a match or of a target.
type option struct {
	names      []string // long ones, synonyms included, without --
	short      byte     // 0: there is none
	args       int
	invertible bool
	many       bool // may be given more than once
	read       func(l *line, g *given) error
}

// given is an option as it stands in a line.
type given struct {
	as     string // as it is written, for errors
	invert bool
	arg    [2]string
	match  *match // whose option it is; nil for a rule's or a target's
}

// extension is a match or a target.
type extension struct {
	name     string
	match    matchKind
	target   targetKind
	protocol uint8 // a match: needs this -p; 0 for any
	options  []option
	check    func(l *line, m *match) error // a match, at the end of the line
}

func findExtension(all []*extension, name string) *extension {
	for _, e := range all {
		if e.name == name {
			return e
		}
	}
	return nil
}

// loaded is an extension whose options can be given from here on. Of several
// -m of one kind the last gets them.
type loaded struct {
	*extension
	m *match
}

// found is an option and the match that it is for.
type found struct {
	*option
	m *match
}

// find looks an option up as getopt_long does: the exact name first, else an
// abbreviation that fits one option only. A rule's own options come first,
// then the latest extension's.
func (l *line) find(word string) (found, error) {
	if !strings.HasPrefix(word, "--") {
		for i := range ruleOptions {
			if ruleOptions[i].short == word[1] {
				return found{&ruleOptions[i], nil}, nil
			}
		}
		return found{}, errUnknown
	}
	name := word[2:]
	var fit []found
	for _, o := range l.offered() {
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
		return found{}, errUnknown
	case len(fit) > 1:
		return found{}, fmt.Errorf("%s: it may be --%s or --%s, write the name in full", word, fit[0].names[0], fit[1].names[0])
	}
	return fit[0], nil
}

var errUnknown = errors.New("unknown option")

// offered are the options that can be given here, in order of precedence:
// xtables_merge_options.
func (l *line) offered() []found {
	var all []found
	for i := range ruleOptions {
		all = append(all, found{&ruleOptions[i], nil})
	}
	for i := len(l.loaded) - 1; i >= 0; i-- {
		e := l.loaded[i]
		for j := range e.options {
			all = append(all, found{&e.options[j], e.m})
		}
	}
	return all
}

// read goes through the words of the line: do_parse.
func (l *line) read() error {
	invert := false
	for l.next < len(l.words) {
		word := l.words[l.next]
		l.next++
		if word == "!" {
			if invert {
				return errors.New("two ! in a row: leave one out")
			}
			invert = true
			continue
		}
		if word == "--" && l.next == len(l.words) {
			break // getopt: no option follows
		}
		if len(word) < 2 || word[0] != '-' || word == "--" {
			return fmt.Errorf("argument %q belongs to no option: leave it out, or quote text that has spaces", word)
		}
		if err := l.readOption(word, invert); err != nil {
			return err
		}
		invert = false
	}
	if invert {
		return errors.New("nothing follows the !: put it before an option")
	}
	return nil
}

func (l *line) readOption(word string, invert bool) error {
	word, value, hasValue := l.cutValue(word)
	o, err := l.find(word)
	if errors.Is(err, errUnknown) && l.loadProtocol() {
		o, err = l.find(word)
	}
	if errors.Is(err, errUnknown) {
		return fmt.Errorf("%s: neither the rule nor a match or target before it has this option; -m or -j comes before its options", word)
	}
	if err != nil {
		return err
	}
	g := &given{as: word, invert: invert, match: o.m}
	if hasValue && o.args == 0 {
		return fmt.Errorf("%s takes no value: leave %q out", word, value)
	}
	for i := range o.args {
		if i == 0 && hasValue {
			g.arg[0] = value
			continue
		}
		if err := l.readArg(o.option, g, i); err != nil {
			return err
		}
	}
	if g.invert && !o.invertible {
		return fmt.Errorf("%s cannot be inverted: leave the ! out", word)
	}
	if l.seen[o] && !o.many {
		return fmt.Errorf("%s is given twice: leave one out", word)
	}
	l.seen[o] = true
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

// readArg takes the next word for an argument, and before the first one the !
// of the old place.
func (l *line) readArg(o *option, g *given, i int) error {
	if i == 0 && o.invertible && l.next < len(l.words) && l.words[l.next] == "!" {
		if g.invert {
			return fmt.Errorf("%s has a ! before and behind it: leave one out", g.as)
		}
		g.invert = true
		l.next++
	}
	if l.next == len(l.words) {
		return fmt.Errorf("%s needs a value behind it", g.as)
	}
	g.arg[i] = l.words[l.next]
	l.next++
	return nil
}
