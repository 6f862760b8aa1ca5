package fs

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// mountEnv makes the test binary mount a registry with the table foo on the
// directory that it names, or the module where the name ends in ".module", say
// so, and wait to be killed.
const mountEnv = "RECENTFS_TEST_MOUNT"

// goFuseLoopEnv makes the test binary serve its mounts by go-fuse's own loop.
const goFuseLoopEnv = "RECENTFS_TEST_GO_FUSE_LOOP"

func TestMain(m *testing.M) {
	goFuseLoop = os.Getenv(goFuseLoopEnv) != ""
	for env, run := range map[string]func(string) error{outliveEnv: serveTables, clientEnv: runClient} {
		if what := os.Getenv(env); what != "" {
			if err := run(what); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	dir := os.Getenv(mountEnv)
	if dir == "" {
		lab.Main(m)
	}
	if err := mountUntilKilled(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {}
}

func mountUntilKilled(dir string) error {
	module, err := recent.NewModule(recent.DefaultParams(recent.Modern), jiffies.NewManual(1000, 100))
	if err != nil {
		return err
	}
	if strings.HasSuffix(dir, ".module") {
		_, err = MountModule(dir, Module{Params: module.Params, Self: func(uint32) string { return "/" }})
		return err
	}
	_, folder, err := Mount(dir)
	if err == nil {
		reg := module.NewRegistry(folder.Update)
		_, err = reg.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: "foo", Mask: recent.AllOnes}})
	}
	return err
}

// mountElsewhere mounts dir in another process.
func mountElsewhere(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), mountEnv+"="+dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	startMount(t, cmd)
	return cmd
}

// startMount starts a process that mounts, and waits until the mount answers.
func startMount(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the other process says %q", line)
	}
}

func kill(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

// shown is a registry and where it is mounted.
type shown struct {
	reg   *recent.Registry
	clock *jiffies.Manual
	dir   string
	m     *Mountpoint
	tree  *tree // of which it is a folder, or nil
}

func newModule(t testing.TB, p recent.Params, clock jiffies.Clock) *recent.Module {
	t.Helper()
	module, err := recent.NewModule(p, clock)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// mount mounts the tables of a new registry until the test ends.
func mount(t testing.TB, p recent.Params) *shown {
	t.Helper()
	lab.NeedRoot(t)
	h := &shown{clock: jiffies.NewManual(4294900000, 100), dir: filepath.Join(lab.TempDir(t), "xt_recent")}
	m, folder, err := Mount(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.m, h.reg = m, newModule(t, p, h.clock).NewRegistry(folder.Update)
	t.Cleanup(func() {
		if err := h.m.Unmount(); err != nil {
			t.Error(err)
		}
	})
	lab.WarmMount(t, h.dir)
	return h
}

func modern(t testing.TB) *shown { return mount(t, recent.DefaultParams(recent.Modern)) }

// rule makes a rule, which makes its table.
func (h *shown) rule(t testing.TB, table string) *recent.Rule {
	t.Helper()
	rules, err := h.reg.CheckAll([]recent.Info{{CheckSet: recent.Set, Name: table, Mask: recent.AllOnes}})
	if err != nil {
		t.Fatal(err)
	}
	return rules[0]
}

func (h *shown) path(name string) string { return filepath.Join(h.dir, name) }

// addresses are those of a table's lines, in their order.
func addresses(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		src, _, _ := strings.Cut(line, " ")
		all = append(all, strings.TrimPrefix(src, "src="))
	}
	return strings.Join(all, " ")
}

// content is the addresses that a file shows.
func content(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return addresses(string(text))
}

// shell runs a script in dir, as that user, and returns what it printed.
func shell(dir string, uid int, script string) string {
	cmd := exec.Command("setpriv", "--reuid", fmt.Sprint(uid), "--regid", fmt.Sprint(uid), "--clear-groups",
		"sh", "-c", "cd "+dir+" && "+script)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error() + "\n"
	}
	return string(out)
}
