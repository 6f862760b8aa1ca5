package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// TestReadme runs what README.md tells a newcomer to type: its blocks marked
// `sh`, one after the other, in one shell, as root, in the top directory. Every
// command must succeed. A line that ends in " &" starts a daemon instead of the
// one before, and the next line waits until the daemon is ready. Something listens
// on port 22.
//
// The shell has process, mount and network namespaces of its own, where /run and
// /etc/recentfs are empty, so that nothing is seen outside.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := readmeScript(string(text))
	if script == "" {
		t.Fatal("README.md has no block marked sh")
	}
	l := lab.NewNetwork(t)
	l.Serve()
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", readmeSetup+"set -x\n"+script)
	cmd.Dir = filepath.Join("..", "..")
	log := filepath.Join(t.TempDir(), "log")
	cmd.Env = append(os.Environ(), "LOG="+log,
		"PATH="+filepath.Dir(lab.Program(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
	if got := l.Server.Finish(t, cmd); got.Code != 0 {
		said, _ := os.ReadFile(log)
		t.Errorf("exit %d: the last of these commands failed\n%s\nprinted so far:\n%s\nthe daemon said:\n%s", got.Code, got.Stderr, got.Stdout, said)
	}
}

// readmeSetup comes before the README's own commands.
const readmeSetup = `
mount -t tmpfs none /run
mkdir -p /run/lock /etc/recentfs
mount -t tmpfs none /etc/recentfs
ready() { # waits until the last daemon says it
	{ set +x; } 2>/dev/null
	until grep -qw ready "$LOG"; do kill -0 $!; sleep 0.01; done
	set -x
}
`

var shBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// readmeScript is all blocks marked sh, each line that starts a daemon
// followed by a wait.
func readmeScript(text string) string {
	var script strings.Builder
	for _, block := range shBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if command, daemon := strings.CutSuffix(line, " &\n"); daemon {
				line = "[ -z \"${!-}\" ] || { kill $!; wait $!; }; : > $LOG; " + command + " >> $LOG 2>&1 &\nready\n"
			}
			script.WriteString(line)
		}
	}
	return script.String()
}
