package ruleset

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"recentfs/tests/lab"
)

// inNamespace runs a shell script in a network namespace that ends with it.
func inNamespace(t *testing.T, script, input string) (output string, err error) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin = strings.NewReader(input)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+filepath.Join(t.TempDir(), "lock"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestIPTables compares the cases with iptables itself: Save prints what
// iptables-save prints, and iptables refuses what is refused here.
func TestIPTables(t *testing.T) {
	lab.NeedRoot(t)
	for _, family := range []struct{ file, command string }{
		{"iptables.t", "iptables-legacy"},
		{"iptables.t", "iptables-nft"},
		{"ip6tables.t", "ip6tables-legacy"},
		{"ip6tables.t", "ip6tables-nft"},
	} {
		t.Run(family.command, func(t *testing.T) {
			if _, err := exec.LookPath(family.command); err != nil {
				t.Skip(err)
			}
			follows := isFollowed(t, family.command)
			var rules strings.Builder
			var want []string
			for _, c := range readCases(t, family.file) {
				if !follows && slices.Contains(changedLater, c.rule) {
					continue
				}
				if c.ok {
					rules.WriteString("-A FORWARD " + c.rule + "\n")
					want = append(want, strings.TrimRight("-A FORWARD "+c.want, " "))
					continue
				}
				if _, err := inNamespace(t, family.command+"-restore", filter("-A FORWARD "+c.rule+"\n")); err == nil {
					t.Errorf("%s: taken by %s", c.name, family.command)
				}
			}
			out, err := inNamespace(t, family.command+"-restore && "+family.command+"-save -t filter", filter(rules.String()))
			if err != nil {
				t.Fatalf("%s-restore: %v\n%s", family.command, err, out)
			}
			var got []string
			for line := range strings.Lines(out) {
				if strings.HasPrefix(line, "-A") {
					got = append(got, strings.TrimSuffix(line, "\n"))
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%s-save prints %d rules, want %d:\n%s", family.command, len(got), len(want), out)
			}
			for i := range got {
				if got[i] != want[i] && (follows || got[i] != numericProtocol(want[i])) {
					t.Errorf("%s-save prints %s, want %s", family.command, got[i], want[i])
				}
			}
		})
	}
}

// changedLater are the rules that later versions of iptables refuse or print in
// another way than the one that we follow.
var changedLater = []string{
	"-m length --length 6:5",
	"-p tcp -m tcp -m tcp --dpor 22", // nft's prints one -m tcp
}

// isFollowed reports whether this iptables is of the version that we follow.
func isFollowed(t *testing.T, command string) bool {
	version, err := exec.Command(command, "--version").Output()
	if err != nil {
		t.Fatalf("%s --version: %v", command, err)
	}
	return strings.Contains(string(version), "v1.8.9 ")
}

// numericProtocol is a saved rule as later versions of iptables-nft print it, which
// have no names for the protocols of /etc/protocols.
func numericProtocol(rule string) string {
	before, after, found := strings.Cut(rule, "-p ")
	if !found {
		return rule
	}
	name, rest, more := strings.Cut(after, " ")
	n, ok := protocolNumber(name)
	if !ok {
		return rule
	}
	rule = before + "-p " + strconv.Itoa(int(n))
	if more {
		rule += " " + rest
	}
	return rule
}

// filter is the kernel's table around rules.
func filter(rules string) string {
	return "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:user - [0:0]\n" + rules + "COMMIT\n"
}
