// Mutants asks whether the tests notice: it makes a few hundred small faults in the
// code, one at a time, and runs the tests on each. It prints the faults that no test
// noticed and the score, the share of those that one did.
//
// Nothing in the tree is edited: the go command reads the changed file in the place
// of the real one (-overlay). Each run has namespaces of its own (see frame.go), so
// that mounts, processes and queues of a broken program end with it.
//
// The faults follow from the seed and from the code, each from its own text. A change
// elsewhere in the code leaves them nearly the same. `equivalent.txt` lists those that change
// nothing that anybody could see. They do not count.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// goal is the share of mutants that tests must kill.
const goal = 0.95

type options struct {
	seed     int
	n, from  int
	jobs     int
	only     string
	list     bool
	endToEnd bool
	output   string
	again    string
}

func main() {
	var o options
	flag.IntVar(&o.seed, "seed", 1, "chooses the mutants")
	flag.IntVar(&o.n, "n", 350, "how many mutants")
	flag.IntVar(&o.from, "from", 1, "begin with this mutant, to go on where a run ended")
	flag.IntVar(&o.jobs, "j", 2, "how many at once")
	flag.StringVar(&o.only, "only", "", "only mutants of packages that begin so, as match/recent")
	flag.BoolVar(&o.list, "list", false, "print the mutants and run none")
	flag.BoolVar(&o.endToEnd, "e2e", true, "run what a package's own tests let live also through the tests of others and the end-to-end tests")
	flag.StringVar(&o.output, "o", "", "append the results to this file too")
	flag.StringVar(&o.again, "again", "", "only the survivors of this file of results, and what it does not have")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reached, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
	}
	if err != nil || !reached {
		stop()
		os.Exit(1)
	}
}

// run reports whether the score is reached.
func run(ctx context.Context, o options) (reached bool, err error) {
	packages, err := load(ctx)
	if err != nil {
		return false, err
	}
	equivalents, err := readEquivalents("tests/mutants/equivalent.txt")
	if err != nil {
		return false, err
	}
	for _, p := range packages {
		p.candidates = p.mutations()
	}
	mutants, err := draw(packages, o.seed, o.n)
	if err != nil {
		return false, err
	}
	passed, err := o.passed()
	if err != nil {
		return false, err
	}
	numbered := mutants[:0]
	for i, m := range mutants {
		m.number, m.equivalent = i+1, equivalents.covers(m)
		if m.number >= o.from && strings.HasPrefix(m.pkg.name, o.only) && !passed[m.String()] {
			numbered = append(numbered, m)
		}
	}
	stale := equivalents.stale(packages)
	for _, line := range stale {
		defer fmt.Fprintf(os.Stderr, "mutants: equivalent.txt: no such mutation: %s\n", line)
	}
	if o.list {
		for _, m := range numbered {
			fmt.Printf("%4d %s\n", m.number, m)
		}
		return len(stale) == 0, nil
	}
	results, err := runAll(ctx, o, numbered)
	if err != nil {
		return false, err
	}
	return report(results) >= goal && len(stale) == 0, nil
}
