package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tally counts what became of mutants.
type tally struct{ killed, survived, equivalent int }

func (t tally) score() float64 {
	if t.killed+t.survived == 0 {
		return 1
	}
	return float64(t.killed) / float64(t.killed+t.survived)
}

func (t tally) String() string {
	return fmt.Sprintf("%d of %d killed, %.1f %%, %d equivalent", t.killed, t.killed+t.survived, 100*t.score(), t.equivalent)
}

// report prints the survivors and the scores, and returns the score.
func report(results []result) float64 {
	slices.SortFunc(results, func(a, b result) int { return a.number - b.number })
	byPackage, total := map[string]*tally{}, tally{}
	fmt.Println()
	for _, r := range results {
		t := byPackage[r.pkg.name]
		if t == nil {
			t = new(tally)
			byPackage[r.pkg.name] = t
		}
		switch r.fate {
		case "killed":
			t.killed++
			total.killed++
		case "equivalent":
			t.equivalent++
			total.equivalent++
		default:
			t.survived++
			total.survived++
			file, function, _ := strings.Cut(r.place(), " ")
			fmt.Printf("%s:%d %s: %s (%s)\n", file, r.line, function, r.change(), r.by)
		}
	}
	fmt.Println()
	for _, name := range slices.Sorted(maps.Keys(byPackage)) {
		fmt.Printf("%-36s %v\n", name, byPackage[name])
	}
	fmt.Printf("%-36s %v\n", "all", total)
	return total.score()
}
