// Skips reads what `go test -json` prints and prints what `go test` would: a line for
// each package, and all that a failed test said, as soon as it has failed. Its last
// lines say how many cases were skipped and why. Without -v, `go test` is silent
// about that.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// event is a line of `go test -json`, as `go doc test2json` describes it.
type event struct {
	Action, Package, Test, Output string
}

// shown is how many skipped cases are named for a reason.
const shown = 5

// summary follows the packages that run.
type summary struct {
	out     io.Writer
	output  map[string]string   // by package and test, while it runs
	skipped map[string][]string // tests by the reason
	heading string              // the package whose text was printed last
	failed  bool
}

func main() {
	ok, err := filter(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// filter reports whether all tests passed.
func filter(in io.Reader, out io.Writer) (ok bool, err error) {
	s := summary{out: out, output: map[string]string{}, skipped: map[string][]string{}}
	lines := bufio.NewReader(in)
	for err == nil {
		var line []byte
		if line, err = lines.ReadBytes('\n'); len(line) == 0 {
			break
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			out.Write(line) // the go command's own words
			continue
		}
		s.take(e)
	}
	if err != io.EOF {
		return false, fmt.Errorf("read the tests' output: %w", err)
	}
	s.printSkipped()
	return !s.failed, nil
}

var (
	progress = regexp.MustCompile(`(?m)^=== .*\n`)        // RUN, PAUSE, CONT
	result   = regexp.MustCompile(`(?m)^ *--- .*\n`)      // PASS, FAIL, SKIP
	place    = regexp.MustCompile(`(?m)^ +\S+\.go:\d+: `) // of the call of t.Skip
)

func (s *summary) take(e event) {
	test := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.failed = true
	case "output":
		s.output[test] += e.Output
	case "pass", "skip", "fail":
		s.failed = s.failed || e.Action == "fail"
		switch text := progress.ReplaceAllString(s.output[test], ""); {
		case e.Test == "":
			s.endPackage(e, text)
		case e.Action == "fail":
			s.print(e.Package, text)
		case e.Action == "skip":
			why := strings.TrimSpace(place.ReplaceAllString(result.ReplaceAllString(text, ""), ""))
			s.skipped[why] = append(s.skipped[why], test)
		}
		delete(s.output, test)
	}
}

// endPackage prints a package's own line, and before it what tests said that did not
// come to an end.
func (s *summary) endPackage(e event, text string) {
	for _, test := range slices.Sorted(maps.Keys(s.output)) {
		if name, ok := strings.CutPrefix(test, e.Package+" "); ok && name != "" {
			s.print(e.Package, progress.ReplaceAllString(s.output[test], ""))
			delete(s.output, test)
		}
	}
	fmt.Fprint(s.out, strings.TrimPrefix(text, "PASS\n"))
	s.heading = ""
}

// print prints what a test said, under its package: several run at once.
func (s *summary) print(pkg, text string) {
	if s.heading != pkg {
		s.heading = pkg
		fmt.Fprintf(s.out, "# %s\n", pkg)
	}
	fmt.Fprint(s.out, text)
}

func (s *summary) printSkipped() {
	if len(s.skipped) == 0 {
		fmt.Fprintln(s.out, "no case was skipped")
	}
	for _, why := range slices.Sorted(maps.Keys(s.skipped)) {
		tests := s.skipped[why]
		cases := "cases"
		if len(tests) == 1 {
			cases = "case"
		}
		fmt.Fprintf(s.out, "%d %s skipped: %s\n", len(tests), cases, why)
		for _, test := range tests[:min(len(tests), shown)] {
			fmt.Fprintf(s.out, "\t%s\n", test)
		}
		if more := len(tests) - shown; more > 0 {
			fmt.Fprintf(s.out, "\tand %d more\n", more)
		}
	}
}
