package ruleset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// unknownOption says what to do about an option that nothing before it has: what
// has it is missing or comes later, or the option is misspelt.
func (l *line) unknownOption(word string) error {
	const cause = "%s: neither the rule nor a match or target before it has this option"
	name := strings.TrimPrefix(word, "--")
	if owners := optionOwners(name); len(owners) > 0 {
		return fmt.Errorf(cause+": put %s before it", word, strings.Join(owners, " or "))
	}
	var names []string
	for o := range l.offered {
		names = append(names, o.names...)
	}
	if likely := similar(name, names); likely != "" {
		return fmt.Errorf(cause+": did you mean --%s?", word, likely)
	}
	return fmt.Errorf(cause+"; write -m or -j before its options", word)
}

// optionOwners are what brings the option of this name into a rule.
func optionOwners(name string) []string {
	has := func(e extension) bool {
		return slices.ContainsFunc(e.options(), func(o option) bool { return slices.Contains(o.names, name) })
	}
	var owners []string
	for _, m := range matches {
		switch {
		case !has(m.make()):
		case m.protocol != 0:
			owners = append(owners, "-p "+protocolName(m.protocol)) // it also loads the match
		default:
			owners = append(owners, "-m "+m.name)
		}
	}
	for _, t := range targets {
		if t.options != nil && has(t.options(&target{})) {
			owners = append(owners, "-j "+t.name)
		}
	}
	return owners
}

func unknownMatch(name string) error {
	var names []string
	for _, m := range matches {
		names = append(names, m.name)
	}
	if likely := similar(name, names); likely != "" {
		return fmt.Errorf("-m %s: did you mean -m %s?", name, likely)
	}
	return fmt.Errorf("-m %s: only the kernel can match this: put it on the kernel's rule that queues", name)
}

// unknownJump is for a name that is neither a target nor a chain.
func (r *reader) unknownJump(option, name string) error {
	var names []string
	for _, t := range targets {
		names = append(names, t.name)
	}
	for _, c := range r.file.chains {
		if !c.builtin {
			names = append(names, c.name)
		}
	}
	if likely := similar(name, names); likely != "" {
		return fmt.Errorf("%s %s: no chain or target has this name: did you mean %s?", option, name, likely)
	}
	return fmt.Errorf("%s %s: no chain of this name is declared above, and the targets are %s; put other targets on a rule of the kernel",
		option, name, targetNames())
}

// similar returns the first of the names that a word may be a slip for; "" if none
// is near. Names of one or two letters are all near each other.
func similar(word string, names []string) string {
	for _, name := range names {
		if len(name) > 2 && isTypo(strings.ToLower(word), strings.ToLower(name)) {
			return name
		}
	}
	return ""
}

// isTypo reports whether two words differ by no more than a letter: one too many,
// one too few, another one, or two that changed places.
func isTypo(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return len(a) <= 1 && len(b) <= 1 ||
		len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
}

// kernelChains are the built-in chains of the kernel's tables.
var kernelChains = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// takenForBuiltin explains a name that looks like a built-in chain here; nil for
// every other name.
func takenForBuiltin(name string) error {
	const instead = "write QUEUE0, the chain for packets of NFQUEUE --queue-num 0"
	switch {
	case slices.Contains(kernelChains, name):
		return fmt.Errorf("chain %s is the kernel's: %s", name, instead)
	case name == "QUEUE":
		return errors.New("chain QUEUE lacks the number of its queue: " + instead)
	}
	return nil
}
