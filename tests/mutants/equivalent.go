package main

import (
	"fmt"
	"os"
	"strings"
)

// equivalents are the mutants that change nothing visible, as argued in a file. A line is
//
//	match/addr/pton.go parse: i < 4 -> i <= 4 # why nobody sees it
//
// up to the " # " as -list prints it.
type equivalents map[string]bool

func readEquivalents(path string) (equivalents, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	e := equivalents{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndex(line, " # ")
		if end < 0 {
			return nil, fmt.Errorf("%s: %q does not say why: add ` # why` to it", path, line)
		}
		e[strings.TrimSpace(line[:end])] = true
	}
	return e, nil
}

func (e equivalents) covers(m *mutant) bool { return e[m.String()] }

// stale are the lines whose code is not there any more.
func (e equivalents) stale(packages []*codePackage) (lines []string) {
	there := map[string]bool{}
	for _, p := range packages {
		for _, m := range p.candidates {
			there[m.String()] = true
		}
	}
	for line := range e {
		if !there[line] {
			lines = append(lines, line)
		}
	}
	return lines
}
