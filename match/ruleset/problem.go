package ruleset

import (
	"errors"
	"fmt"
	"slices"
)

// maxProblems bounds what is said of one file. The others are counted.
const maxProblems = 50

// problem is what is wrong with a line.
type problem struct {
	line int
	err  error
	more int // how many later lines have it too
}

// problems are all that is wrong with a file.
type problems struct {
	all []problem
	// said has what is said once, by its key: an index into all, or silent.
	said map[string]int
}

// silent is the index of a problem that needs no words, because it follows from
// another.
const silent = -1

// once is an error that is said for the first line that has it. The key tells
// such errors apart.
type once struct {
	key string
	error
}

// add notes what is wrong with a line.
func (p *problems) add(line int, err error) {
	var o once
	if errors.As(err, &o) {
		if i, ok := p.said[o.key]; ok {
			if i != silent {
				p.all[i].more++
			}
			return
		}
		p.said[o.key] = len(p.all)
	}
	p.all = append(p.all, problem{line: line, err: err})
}

// silence keeps back what would follow from an error that was said.
func (p *problems) silence(key string) {
	if _, ok := p.said[key]; !ok {
		p.said[key] = silent
	}
}

// chainKey is the key of what is said of a chain that is not declared.
func chainKey(name string) string { return "chain:" + name }

// in returns the problems of a file as one error, a line for each of the first.
func (p *problems) in(f *File) error {
	slices.SortStableFunc(p.all, func(a, b problem) int { return a.line - b.line })
	first := p.all[:min(len(p.all), maxProblems)]
	var list []error
	for _, q := range first {
		err := q.err
		switch {
		case q.more == 1:
			err = fmt.Errorf("%w (and 1 more line)", err)
		case q.more > 1:
			err = fmt.Errorf("%w (and %d more lines)", err, q.more)
		}
		list = append(list, f.at(q.line, err))
	}
	if left := len(p.all) - len(first); left > 0 {
		list = append(list, fmt.Errorf("and %d more", left))
	}
	return errors.Join(list...)
}
