package script

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/tests/lab"
)

// fakeMachine is a PATH with all programs of this machine but apt-get and those
// that are missing. Where it has an apt-get, that only notes how it was called, and
// makes what is missing.
func fakeMachine(t *testing.T, withAPT bool, missing ...string) (path, log string) {
	t.Helper()
	path, log = t.TempDir(), filepath.Join(t.TempDir(), "log")
	skip := map[string]bool{"apt-get": true}
	for _, name := range missing {
		skip[name] = true
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		files, _ := os.ReadDir(dir) // PATH may name directories that are not there
		for _, f := range files {
			if !skip[f.Name()] {
				_ = os.Symlink(filepath.Join(dir, f.Name()), filepath.Join(path, f.Name())) // the first of PATH counts
			}
		}
	}
	if withAPT {
		script := "#!/bin/sh\necho \"apt-get $*\" >> " + log + "\n"
		for _, name := range missing {
			script += "printf '#!/bin/sh\\necho \"" + name + " $*\" >> " + log + "' > " + path + "/" + name + "; chmod +x " + path + "/" + name + "\n"
		}
		if err := os.WriteFile(filepath.Join(path, "apt-get"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path, log
}

// TestInstallsWhatIsMissing runs the Makefile and .ci/run where tools are missing.
func TestInstallsWhatIsMissing(t *testing.T) {
	const packages = "busybox fail2ban gcc "
	for _, c := range []struct {
		name    string
		missing []string
		apt     bool
		command string
		ok      bool
		prints  string
		log     []string // how the programs that were missing were called, from the start
	}{
		{"all there", nil, true, "make tools", true, "", nil},
		{"one missing", []string{"nc"}, true, "make tools", true, "missing: nc: apt-get installs " + packages,
			[]string{"apt-get -qq update", "apt-get -qq install -y --no-install-recommends " + packages}},
		{"two missing, no apt-get", []string{"nc", "ping"}, false, "make tools", false,
			"missing: nc ping: install what has them; in Debian these are the packages " + packages, nil},
		{"the demo asks for no more than it calls", []string{"nc", "python3", "fail2ban-server"}, false, "make demo", false,
			"missing: nc: install what has them; in Debian these are the packages iproute2 iptables netcat-openbsd util-linux\n", nil},
		{"no make", []string{"make"}, true, ".ci/run", true, "",
			[]string{"apt-get update -qq", "apt-get install -qq -y --no-install-recommends make", "make lint", "make test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, log := fakeMachine(t, c.apt, c.missing...)
			cmd := exec.Command("sh", "-c", c.command)
			cmd.Dir = filepath.Join("..", "..")
			cmd.Env = append(os.Environ(), "PATH="+path)
			out, err := cmd.CombinedOutput()
			if (err == nil) != c.ok || !strings.Contains(string(out), c.prints) {
				t.Errorf("%q: %v, want success %t and %q:\n%s", c.command, err, c.ok, c.prints, out)
			}
			called, _ := os.ReadFile(log) // it is not there if nothing was called
			lines := strings.Split(strings.TrimSpace(string(called)), "\n")
			if len(called) == 0 {
				lines = nil
			}
			if len(lines) != len(c.log) {
				t.Fatalf("called:\n%s\nwant %q", called, c.log)
			}
			for i, want := range c.log {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("call %d: %q, want %q", i, lines[i], want)
				}
			}
		})
	}
}

// TestMakeRun starts the daemon as README.md's first command does, and follows
// what it prints: each line for another shell must work on this kernel.
func TestMakeRun(t *testing.T) {
	build := exec.Command("make", "build") // may take longer than anything else
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	script := `
mount -t tmpfs none /run
trap 'kill $pid; wait $pid || cat "$OUT"' EXIT
make run > "$OUT" 2>&1 & pid=$!
until grep -qw ready "$OUT"; do kill -0 $pid; sleep 0.05; done
grep -E '^  (iptables|nft) ' "$OUT" | sh -eux
grep -q '^  iptables ' "$OUT"
[ "$(grep -cE '^  nft |lacks CONFIG_NFT_QUEUE' "$OUT")" = 1 ]
`
	cmd := exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", script)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "OUT="+filepath.Join(t.TempDir(), "out"))
	if got := lab.NewNetns(t).Finish(t, cmd); got.Code != 0 {
		t.Errorf("exit %d\n%s\n%s", got.Code, got.Stderr, got.Stdout)
	}
}

// TestDemo reads the demo through a pipe: plain text that tells a drop from a
// refusal and feeds recentfs as README.md says.
func TestDemo(t *testing.T) {
	out, err := exec.Command(filepath.Join("..", "demo.sh"), lab.Program(t)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{
		"iptables -t mangle -A INPUT -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0 --queue-bypass\n",
		"connection 4: connected\n", "connection 5: no answer\n", "connection 6: connected\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("the demo prints escape codes into a pipe: %q", text)
	}
}
