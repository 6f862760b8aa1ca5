package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
)

// draw chooses n mutants of all packages, in proportion to their statements and at
// least one of each. It takes those with the smallest hash of the seed and their
// text, and passes over what does not compile.
func draw(packages []*codePackage, seed, n int) (drawn []*mutant, err error) {
	statements := 0
	for _, p := range packages {
		statements += p.statements
	}
	for _, p := range packages {
		share := max(1, int(math.Round(float64(n*p.statements)/float64(statements))))
		hash := map[*mutant][]byte{}
		for _, m := range p.candidates {
			sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", seed, m))
			hash[m] = sum[:]
		}
		shuffled := slices.SortedFunc(slices.Values(p.candidates), func(a, b *mutant) int { return bytes.Compare(hash[a], hash[b]) })
		for _, m := range shuffled {
			if share == 0 {
				break
			}
			if p.compiles(m) {
				drawn = append(drawn, m)
				share--
			}
		}
		if share > 0 {
			return nil, fmt.Errorf("%s has not enough mutations: %d are missing", p.name, share)
		}
	}
	return drawn, nil
}
