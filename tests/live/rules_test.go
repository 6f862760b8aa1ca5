package live

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// The same rules on both sides: `check` accepts what iptables and the kernel
// accept, and refuses what they refuse. They accept what `check` prints, and
// `check` reads what they print and prints the same. Only the names of the table
// and of its built-in chains are translated. differences_test.go has the intended
// differences.

// TestLiveRules puts all rules to all referees.
func TestLiveRules(t *testing.T) {
	needKernel(t)
	sum := &tally{shown: map[int]bool{}}
	t.Run("referees", func(t *testing.T) {
		for i, tool := range []string{"iptables-legacy", "iptables-nft", "ip6tables-legacy", "ip6tables-nft"} {
			t.Run(tool, func(t *testing.T) {
				t.Parallel()
				needIPTables(t, tool)
				r := &referee{
					t: t, ns: lab.NewNetns(t), tool: tool, v6: tool[:3] == "ip6",
					lock: filepath.Join(t.TempDir(), "lock"), tally: sum,
				}
				rnd := rand.New(rand.NewPCG(*liveSeed, uint64(i)))
				flags := flagRules(rnd, r.v6)
				if strings.HasSuffix(tool, "-nft") {
					// The kernel's extension and its check are the same, but
					// nf_tables takes ten times as long to refuse a rule.
					rnd.Shuffle(len(flags), func(i, j int) { flags[i], flags[j] = flags[j], flags[i] })
					flags = flags[:len(flags)/4]
				}
				r.compare(flags)
				r.compare(edgeRules(r.v6))
				for _, d := range ruleDifferences {
					r.compare([]string{d.example})
				}
				g := &ruleGen{rnd, r.v6}
				for range liveRuleBatches {
					r.compare(g.rules(liveRuleBatch))
				}
				r.compareProgram(g.rules(liveRulesProgram))
			})
		}
	})
	t.Logf("%d rules compared, %d of them taken", sum.taken+sum.refused, sum.taken)
	if sum.taken+sum.refused == 0 {
		return // by needIPTables
	}
	if sum.taken < liveRuleBatches*liveRuleBatch || sum.refused < liveRuleBatches*liveRuleBatch/10 {
		t.Errorf("%d rules taken and %d refused: the comparison is one-sided", sum.taken, sum.refused)
	}
	for i, d := range ruleDifferences {
		if !sum.shown[i] {
			t.Errorf("%q: a listed difference that does not occur any more: remove it from the list: %s", d.example, d.reason)
		}
	}
}

// iptablesVersion is the iptables that match/ruleset follows. Other versions differ
// in places: later ones print --seconds without a sign.
const iptablesVersion = "v1.8.9"

// needIPTables skips a test on a machine that has another iptables.
func needIPTables(t *testing.T, tool string) {
	t.Helper()
	out, err := exec.Command(tool, "-V").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), iptablesVersion+" ") {
		t.Skipf("%s is not the version to compare with, %s", strings.TrimSpace(string(out)), iptablesVersion)
	}
}

// Random rules, for each referee.
const (
	liveRuleBatches = 4
	liveRuleBatch   = 250
	// liveRulesProgram is how many go through the program itself.
	liveRulesProgram = 12
)

// compare puts rules to both sides. A rule is what follows "-A CHAIN".
func (r *referee) compare(rules []string) {
	r.t.Helper()
	var taken, refused []string
	for _, rule := range rules {
		if _, err := r.ours([]string{rule}); err == nil {
			taken = append(taken, rule)
		} else {
			refused = append(refused, rule)
		}
	}
	r.count(len(taken), len(refused))
	for part := range slices.Chunk(refused, 50) {
		for i, code := range r.alone(part) {
			if code == 0 {
				_, err := r.ours(part[i : i+1])
				r.differ(weRefuse, part[i], fmt.Sprintf("%s takes it, we refuse it: %v", r.tool, err))
			}
		}
	}
	for part := range slices.Chunk(taken, 256) {
		r.comparePrinted(r.compareTaken(part))
	}
}

// compareProgram checks rules with the program. It must end and print as the
// package does, which was compared with the kernel.
func (r *referee) compareProgram(rules []string) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "rules")
	for _, rule := range rules {
		text := r.text([]string{rule})
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
		want, err := printOurs(text)
		got := r.ns.Run(r.t, lab.Program(r.t), "check", "--compat", "modern", "--rules", file)
		if (got.Code == 0) != (err == nil) || got.Stdout != want {
			r.t.Errorf("seed %d, rule %q: check exits with %d and prints\n%s%s, want\n%s%v",
				*liveSeed, rule, got.Code, got.Stdout, got.Stderr, want, err)
		}
	}
}

// compareTaken reports the rules that we accept and the referee refuses, and
// returns the others.
func (r *referee) compareTaken(rules []string) (both []string) {
	r.t.Helper()
	got := r.restore(r.kernelText(rules))
	switch {
	case got.Code == 0:
		return rules
	case len(rules) == 1:
		r.differ(weTake, rules[0], fmt.Sprintf("we take it, %s refuses it: %s", r.tool, got.Stderr))
		return nil
	}
	half := len(rules) / 2
	return append(r.compareTaken(rules[:half:half]), r.compareTaken(rules[half:])...)
}

// comparePrinted compares what both print for rules that both accept. Each side
// must read what the other printed.
func (r *referee) comparePrinted(rules []string) {
	r.t.Helper()
	if len(rules) == 0 {
		return
	}
	ours, err := r.ours(rules)
	if err != nil {
		r.t.Errorf("accepted one by one, refused together: %v", err)
		return
	}
	theirs := r.print(r.kernelText(rules))
	oursBy, theirsBy := byChain(ours), byChain(theirs)
	var same []string
	for i, rule := range rules {
		o, k := withoutFamily(oursBy[chainOf(i)]), theirsBy[chainOf(i)]
		if o == k {
			same = append(same, rule)
			continue
		}
		r.differ(printed, rule, fmt.Sprintf("%s prints\n%swe print\n%s", r.tool, k, o))
		if alone, err := r.ours([]string{rule}); err != nil || r.restore(toKernel.Replace(alone)).Code != 0 {
			r.t.Errorf("rule %q: %s refuses what check prints for it: %v\n%s", rule, r.tool, err, alone)
		}
	}
	if len(same) < len(rules) {
		r.comparePrinted(same)
		return
	}
	again, err := printOurs(r.withFamily(theirs))
	if again = shownFamily.ReplaceAllString(again, "$1"); err != nil || again != theirs {
		r.t.Errorf("what %s-save prints comes back differently: %v\n%s", r.tool, err, firstDifference(theirs, again))
	}
	if again := r.print(ours); again != theirs {
		r.t.Errorf("what check prints comes back differently from %s:\n%s", r.tool, firstDifference(theirs, again))
	}
}

// differ reports a difference unless it is a listed one.
func (r *referee) differ(kind differenceKind, rule, what string) {
	r.t.Helper()
	for i := range ruleDifferences {
		if ruleDifferences[i].is(kind, r.tool, rule) {
			r.mu.Lock()
			r.shown[i] = r.shown[i] || rule == ruleDifferences[i].example
			r.mu.Unlock()
			return
		}
	}
	r.t.Errorf("seed %d, rule %q: %s", *liveSeed, rule, what)
}
