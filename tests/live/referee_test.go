package live

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/tests/lab"
)

// referee is one of the iptables tools, in a network namespace of its own.
type referee struct {
	t    *testing.T
	ns   *lab.Netns
	tool string // iptables-legacy, ...
	v6   bool
	lock string // its own lock file, so that it waits for no other iptables
	*tally
}

// tally is what all referees of a test have found.
type tally struct {
	mu             sync.Mutex
	taken, refused int          // rules compared; guarded by mu
	shown          map[int]bool // those of ruleDifferences; guarded by mu
}

func (r *referee) count(taken, refused int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taken += taken
	r.refused += refused
}

// chainOf is the chain of a rule in a text of many.
func chainOf(i int) string { return fmt.Sprintf("r%04d", i) }

// family limits a rule of ours to the referee's family.
func (r *referee) family() string {
	if r.v6 {
		return "-6 "
	}
	return "-4 "
}

// text is a table with a chain for each rule, in the order in which
// iptables-save prints chains.
func (r *referee) text(rules []string) string {
	var b strings.Builder
	b.WriteString("*recent\n:QUEUE0 ACCEPT [0:0]\n:QUEUE1 ACCEPT [0:0]\n:QUEUE2 ACCEPT [0:0]\n")
	for i := range rules {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chainOf(i))
	}
	b.WriteString(":user - [0:0]\n")
	for i, rule := range rules {
		fmt.Fprintf(&b, "-A %s %s%s\n", chainOf(i), r.family(), rule)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// ours is what `check` prints for the rules, after it made their tables.
func (r *referee) ours(rules []string) (string, error) { return printOurs(r.text(rules)) }

func printOurs(text string) (string, error) {
	p := recent.DefaultParams(recent.Modern)
	file, err := ruleset.Parse("rules", []byte(text), p)
	if err != nil {
		return "", err
	}
	module, err := recent.NewModule(p, jiffies.NewManual(0, 1000))
	if err != nil {
		return "", err
	}
	reg := module.NewRegistry(nil)
	set, err := file.Load(reg)
	if err != nil {
		return "", err
	}
	defer set.Close()
	var b strings.Builder
	err = file.Save(&b)
	return b.String(), err
}

// toKernel and toOurs translate the names of the table and the built-in chains.
var (
	toKernel = strings.NewReplacer("*recent\n", "*filter\n", ":QUEUE0 ", ":INPUT ", ":QUEUE1 ", ":FORWARD ", ":QUEUE2 ", ":OUTPUT ")
	toOurs   = strings.NewReplacer("*filter\n", "*recent\n", ":INPUT ", ":QUEUE0 ", ":FORWARD ", ":QUEUE1 ", ":OUTPUT ", ":QUEUE2 ")
)

func (r *referee) kernelText(rules []string) string { return toKernel.Replace(r.text(rules)) }

// run runs one of the referee's programs.
func (r *referee) run(input, name string, args ...string) lab.Outcome {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+r.lock)
	return r.ns.Finish(r.t, cmd)
}

func (r *referee) restore(text string) lab.Outcome {
	r.t.Helper()
	return r.run(text, r.tool+"-restore")
}

// print restores a text and returns what the referee saves then, translated.
func (r *referee) print(text string) string {
	r.t.Helper()
	if got := r.restore(toKernel.Replace(text)); got.Code != 0 {
		r.t.Errorf("%s-restore refuses what it or `check` printed: %s", r.tool, got.Stderr)
		return ""
	}
	return r.saved()
}

// saved is what the referee saves of its table, translated.
func (r *referee) saved(args ...string) string {
	r.t.Helper()
	got := r.run("", r.tool+"-save", append([]string{"-t", "filter"}, args...)...)
	var b strings.Builder
	for line := range strings.Lines(got.Stdout) {
		if line[0] != '#' {
			b.WriteString(line)
		}
	}
	return toOurs.Replace(b.String())
}

// alone restores each rule by itself and returns the exit codes.
func (r *referee) alone(rules []string) (codes []int) {
	r.t.Helper()
	got := r.run(strings.Join(rules, "\n")+"\n", "sh", "-uc", `
		while IFS= read -r rule; do
			printf '*filter\n:FORWARD ACCEPT [0:0]\n:user - [0:0]\n-A FORWARD %s%s\nCOMMIT\n' "$1" "$rule" |
				"$0-restore" >/dev/null 2>&1
			echo $?
		done`, r.tool, r.family())
	for word := range strings.FieldsSeq(got.Stdout) {
		code := 0
		fmt.Sscan(word, &code)
		codes = append(codes, code)
	}
	if len(codes) != len(rules) {
		r.t.Fatalf("%d outcomes of %d rules: %s%s", len(codes), len(rules), got.Stdout, got.Stderr)
	}
	return codes
}

// byChain is the rules of each chain, without "-A CHAIN".
func byChain(text string) map[string]string {
	chains := map[string]string{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "-A "); ok {
			name, rule, _ := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
			chains[name] += rule + "\n"
		}
	}
	return chains
}

// withoutFamily removes the -4 or -6 that we print first in a rule if nothing else
// shows its family.
func withoutFamily(rules string) string {
	var b strings.Builder
	for line := range strings.Lines(rules) {
		line = strings.TrimSuffix(line, "\n")
		if line == "-4" || line == "-6" {
			line = ""
		}
		b.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "-4 "), "-6 ") + "\n")
	}
	return b.String()
}

// otherICMP are the rules for the other family's ICMP, by family: -p alone makes
// them rules of that family here.
var otherICMP = map[string]*regexp.Regexp{
	"-4 ": regexp.MustCompile(`(?m)^(-A \S+ )((?:! )?(?:-[sdio] \S+ (?:! )?)*-p ipv6-icmp)`),
	"-6 ": regexp.MustCompile(`(?m)^(-A \S+ )((?:! )?(?:-[sdio] \S+ (?:! )?)*-p icmp)`),
}

var shownFamily = regexp.MustCompile(`(?m)^(-A \S+) -[46]`)

// withFamily adds -4 or -6 to what the referee saves, where a rule needs it.
func (r *referee) withFamily(rules string) string {
	return otherICMP[r.family()].ReplaceAllString(rules, "${1}"+r.family()+"$2")
}

func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("want %s\ngot  %s", as[i], bs[i])
		}
	}
	return fmt.Sprintf("want %d lines, got %d", len(as), len(bs))
}
