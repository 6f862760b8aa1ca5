package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// suite is tests of one package that run together.
type suite struct {
	dir string // of the package
	run string // those tests alone

	once    sync.Once
	err     error         // what the baseline says
	took    time.Duration // without a mutant
	profile []block       // what a package's own tests reach
}

// block is a part of the code that no test of the package reaches.
type block struct {
	file                                   string
	fromLine, fromCol, untilLine, untilCol int
	reached                                bool
}

var (
	vectors     = &suite{dir: "tests/vectors"}
	scripts     = &suite{dir: "tests/script", run: "TestScripts|TestReadme"} // the others are about the Makefile
	endToEnd    = &suite{dir: "tests/e2e"}
	liveFiles   = &suite{dir: "tests/live", run: "TestLive(Files|Shell|Concurrency)"}
	liveRules   = &suite{dir: "tests/live", run: "TestLive(Headers|Log|Parameters|Rules|Sockets)"}
	livePackets = &suite{dir: "tests/live", run: "TestLive(Large|Packets|Writes)"}
	liveClock   = &suite{dir: "tests/live", run: "TestLiveClock"}
)

// own is the suite of each package by itself.
var own = map[string]*suite{}

// related are the tests after a package's own, the quickest first, by how the
// package's name begins.
var related = []struct {
	packages string
	others   []string // packages whose tests use this one
	suites   []*suite
}{
	{"match/addr", []string{"match/recent", "match/ruleset"}, []*suite{vectors, scripts, endToEnd, liveRules, livePackets}},
	{"match/jiffies", []string{"match/recent", "match/ruleset", "fs"}, []*suite{scripts, endToEnd, livePackets, liveClock}},
	{"match/recent", []string{"match/ruleset", "fs", "cmd/recentfs/internal/daemon"}, []*suite{vectors, scripts, endToEnd, liveFiles, livePackets}},
	{"match/ruleset", []string{"cmd/recentfs/internal/daemon"}, []*suite{scripts, endToEnd, liveRules, livePackets}},
	{"capture/pcap", []string{"cmd/recentfs/internal/replay"}, []*suite{scripts}},
	{"capture", []string{"match/ruleset", "cmd/recentfs/internal/daemon"}, []*suite{scripts, endToEnd, liveRules, livePackets}},
	{"fs/procnet", nil, []*suite{scripts, endToEnd}},
	{"fs", []string{"fs", "cmd/recentfs/internal/daemon"}, []*suite{scripts, endToEnd, liveFiles}},
	{"namespaces", []string{"cmd/recentfs/internal/daemon"}, []*suite{endToEnd}},
	{"cmd", nil, []*suite{scripts, endToEnd}},
}

func suiteOf(name string) *suite {
	if own[name] == nil {
		own[name] = &suite{dir: name}
	}
	return own[name]
}

// suitesFor are the tests that a mutant meets, one suite after the other.
func suitesFor(name string, all bool) []*suite {
	suites := []*suite{suiteOf(name)}
	for _, r := range related {
		if !all || !strings.HasPrefix(name, r.packages) {
			continue
		}
		for _, other := range r.others {
			if other != name {
				suites = append(suites, suiteOf(other))
			}
		}
		return append(suites, r.suites...)
	}
	return suites
}

// limit is how long the suite may take with a mutant.
func (s *suite) limit() time.Duration { return 3*s.took + 10*time.Second }

// compile makes the test binary, with what overlay says in the place of files.
func (s *suite) compile(ctx context.Context, binary string, flags ...string) error {
	args := append([]string{"test", "-c", "-vet=off", "-o", binary}, flags...)
	out, err := exec.CommandContext(ctx, "go", append(args, "./"+s.dir)...).CombinedOutput()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("compile the tests of %s: %w\n%s", s.dir, err, out)
	}
	return ctx.Err()
}

func (s *suite) args() (args []string) {
	if s.run != "" {
		args = append(args, "-test.run=^("+s.run+")$")
	}
	return args
}

// notice runs the tests on a mutant. A busy machine must not look like a test that
// noticed: what took too long gets thrice the time, and a test of the whole program
// counts if it fails twice.
func (s *suite) notice(ctx context.Context, env []string, binary string) (e ending, err error) {
	limit, args := s.limit(), s.args()
	for try := range 3 {
		if e, err = runFramed(ctx, s.dir, env, limit, binary, args...); err == nil {
			err = ctx.Err()
		}
		switch test, _, _ := strings.Cut(e.why, "/"); {
		case err != nil:
			return e, err
		case e.why == timedOut && try == 0 && isBusy():
			limit *= 3
		case strings.HasPrefix(test, "Test") && s.isEndToEnd() && try == 0:
			args = []string{"-test.run=^" + test + "$"}
		case e.passed && try == 1 && limit == s.limit():
			args = s.args() // the other tests too
		default:
			return e, nil
		}
	}
	return e, nil
}

// isBusy reports whether others use this machine too: proc_loadavg(5).
func isBusy() bool {
	var load float64
	text, _ := os.ReadFile("/proc/loadavg")
	_, err := fmt.Sscan(string(text), &load)
	return err != nil || load > float64(2*runtime.NumCPU())
}

// isEndToEnd reports whether the tests are about no package alone.
func (s *suite) isEndToEnd() bool { return strings.HasPrefix(s.dir, "tests/") }

// baseline runs the tests once on the code as it is: they must pass, in the same
// namespaces as a mutant's.
func (s *suite) baseline(ctx context.Context, work string) error {
	s.once.Do(func() {
		binary, profile := filepath.Join(work, "baseline.test"), filepath.Join(work, "baseline.cover")
		flags, args := []string(nil), s.args()
		if !s.isEndToEnd() {
			flags, args = append(flags, "-cover"), append(args, "-test.coverprofile="+profile)
		}
		if s.err = s.compile(ctx, binary, flags...); s.err != nil {
			return
		}
		e, err := runFramed(ctx, s.dir, nil, 10*time.Minute, binary, args...)
		switch {
		case err != nil:
			s.err = err
		case ctx.Err() != nil:
			s.err = ctx.Err()
		case !e.passed:
			s.err = fmt.Errorf("the tests of %s fail without a mutant: %s\n%s", s.dir, e.why, e.output)
		case !s.isEndToEnd():
			s.profile, s.err = readProfile(profile)
		}
		s.took = e.took
		if s.err == nil {
			fmt.Printf("%s: passes without a mutant in %v\n", s.dir, s.took.Round(time.Millisecond))
		}
	})
	return s.err
}

func readProfile(name string) (blocks []block, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var b block
		var statements, count int
		file, rest, _ := strings.Cut(lines.Text(), ":")
		if _, err := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &b.fromLine, &b.fromCol, &b.untilLine, &b.untilCol, &statements, &count); err == nil {
			b.file, b.reached = path.Base(file), count > 0
			blocks = append(blocks, b)
		}
	}
	if len(blocks) == 0 {
		return nil, errors.New(name + ": no coverage")
	}
	return blocks, nil
}

// misses reports whether the package's own tests never run a mutant's line. What is in
// no block, as the value of a variable of the package, may have been run.
func (s *suite) misses(m *mutant) bool {
	for _, b := range s.profile {
		if b.file == filepath.Base(m.file) && !before(m.line, m.col, b.fromLine, b.fromCol) && before(m.line, m.col, b.untilLine, b.untilCol) {
			return !b.reached
		}
	}
	return false
}

func before(line, col, otherLine, otherCol int) bool {
	return line < otherLine || line == otherLine && col < otherCol
}
