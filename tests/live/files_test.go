package live

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// fileTrial does the same things to the kernel's directory or to ours and
// notes how each ended. It runs on the thread of their network namespace.
type fileTrial struct {
	dir     string // the directory of the tables foo and bar
	scratch string // a directory for files that are no tables
	fds     []int
	rings   []*lab.Ring
	note    []string
	shell   func(uid uint32, script string) string
}

// add notes an outcome: the errno's name, or the result if there is no error.
func (tr *fileTrial) add(what string, result any, err error) {
	if err != nil {
		result = unix.ErrnoName(err.(syscall.Errno))
	}
	tr.note = append(tr.note, fmt.Sprint(what, " = ", result))
}

func (tr *fileTrial) path(name string) string { return tr.dir + "/" + name }

func (tr *fileTrial) open(name string, flags int) int {
	fd, err := unix.Open(tr.path(name), flags|unix.O_CLOEXEC, 0o644)
	tr.add("open "+name, "ok", err)
	if err == nil {
		tr.fds = append(tr.fds, fd)
	}
	return fd
}

func (tr *fileTrial) foo() int { return tr.open("foo", unix.O_RDWR) }

// temp opens an empty file that is no table.
func (tr *fileTrial) temp() int {
	fd, err := unix.Open(tr.scratch, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	tr.add("temp", "ok", err)
	tr.fds = append(tr.fds, fd)
	return fd
}

func (tr *fileTrial) write(fd int, s string) {
	n, err := unix.Write(fd, []byte(s))
	tr.add(fmt.Sprintf("write %.20q", s), n, err)
}

// put adds addresses 10.0.0.from to 10.0.0.to-1. Their lines have one length if
// the numbers have.
func (tr *fileTrial) put(from, to int) {
	fd := tr.open("foo", unix.O_WRONLY)
	for i := from; i < to; i++ {
		unix.Seek(fd, 0, unix.SEEK_SET)
		tr.write(fd, fmt.Sprintf("+10.0.0.%d", i))
	}
}

// bytes notes n bytes that were read. Addresses and stamps are not compared:
// the kernel lists entries in the order of its hash.
func (tr *fileTrial) bytes(what string, b []byte, n int, err error) {
	tr.add(what, fmt.Sprintf("%d %q", n, digit.ReplaceAll(b[:max(n, 0)], []byte("9"))), err)
}

func (tr *fileTrial) read(fd, size int) int {
	b := make([]byte, size)
	n, err := unix.Read(fd, b)
	tr.bytes(fmt.Sprint("read ", size), b, n, err)
	return n
}

func (tr *fileTrial) readAll(fd, size int) {
	for range 1 << 14 {
		if tr.read(fd, size) <= 0 {
			return
		}
	}
}

func (tr *fileTrial) seek(fd int, off int64, whence int) {
	pos, err := unix.Seek(fd, off, whence)
	tr.add(fmt.Sprintf("seek %d %d", off, whence), pos, err)
}

// sh runs a script in the directory and notes what it printed.
func (tr *fileTrial) sh(uid uint32, script string) {
	tr.note = append(tr.note, fmt.Sprintf("%s = %s", script, tr.shell(uid, script)))
}

// as does something as another user, on this thread alone.
func (tr *fileTrial) as(uid, gid uintptr, do func()) {
	set := func(uid, gid uintptr) {
		// Without rights nothing else can be set: the user loses them last and
		// gets them back first.
		for _, id := range [][2]uintptr{{unix.SYS_SETRESUID, 0}, {unix.SYS_SETRESGID, gid}, {unix.SYS_SETRESUID, uid}} {
			if _, _, errno := unix.RawSyscall(id[0], ^uintptr(0), id[1], ^uintptr(0)); errno != 0 {
				tr.add("set ids", "", errno)
			}
		}
	}
	set(uid, gid)
	defer set(0, 0)
	do()
}

var (
	digit = regexp.MustCompile(`\d`)
	// stampLike is a stamp, or an inode's or a device's number.
	stampLike = regexp.MustCompile(`\d{9,}`)
)

// finish notes what the tables hold, empties them, resets their attributes and
// closes the files.
func (tr *fileTrial) finish() []string {
	for _, name := range []string{"foo", "bar"} {
		text, err := os.ReadFile(tr.path(name))
		if err != nil {
			tr.add("reading at the end", "", errnoOf(err))
		}
		lines := strings.SplitAfter(string(text), "\n")
		slices.Sort(lines)
		tr.note = append(tr.note, name+" holds "+stampLike.ReplaceAllString(strings.Join(lines, ""), "J"))
		for what, err := range map[string]error{
			"emptying":       os.WriteFile(tr.path(name), []byte("/"), 0),
			"changing back":  os.Chmod(tr.path(name), 0o644),
			"giving back to": os.Chown(tr.path(name), 0, 0),
		} {
			if err != nil {
				tr.note = append(tr.note, what+": "+err.Error())
			}
		}
	}
	tr.close()
	return tr.note
}

// close closes the files that are open.
func (tr *fileTrial) close() {
	for _, fd := range tr.fds {
		unix.Close(fd)
	}
	tr.fds = nil
	for _, r := range tr.rings {
		r.Close()
	}
	tr.rings = nil
}

// fileCase is a trial of both directories. If the two end differently, differs
// says why. README.md tells users the same.
type fileCase struct {
	name    string
	do      func(*fileTrial)
	differs string
}

// sides are the kernel's directory and ours, in one namespace.
type sides struct {
	ns           *lab.Netns
	daemon       *lab.Daemon
	kernel, ours string
	scratch      string
}

const bothTables = "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name foo\n-A QUEUE0 -m recent --set --name bar\nCOMMIT\n"

func newSides(t *testing.T) *sides {
	t.Helper()
	needKernel(t)
	s := &sides{ns: lab.NewNetns(t), scratch: t.TempDir()}
	s.ns.Sh(t, `for name in foo bar; do iptables-legacy -w -A INPUT -m recent --set --name $name; done`)
	s.daemon = lab.StartDaemon(t, s.ns, bothTables, "--compat", "modern")
	s.ours = s.daemon.Mount
	s.ns.Do(func() error {
		s.kernel = fmt.Sprintf("/proc/%d/task/%d/net/xt_recent", os.Getpid(), unix.Gettid())
		return nil
	})
	return s
}

// trial does a case to one side and returns the notes.
func (s *sides) trial(dir string, do func(*fileTrial)) (notes []string) {
	tr := s.newTrial(dir)
	s.ns.Do(func() error {
		do(tr)
		notes = tr.finish()
		return nil
	})
	return notes
}

func (s *sides) newTrial(dir string) *fileTrial {
	tr := &fileTrial{dir: dir, scratch: s.scratch}
	tr.shell = func(uid uint32, script string) string {
		cmd := exec.Command("sh", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TMPDIR="+s.scratch)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		text := stampLike.ReplaceAllString(strings.ReplaceAll(string(out), dir, "DIR"), "J")
		if err != nil {
			text += err.Error()
		}
		return text
	}
	return tr
}

// compare does the cases to both sides.
func (s *sides) compare(t *testing.T, cases []fileCase) {
	compared, differ := 0, 0
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			want, got := s.trial(s.kernel, c.do), s.trial(s.ours, c.do)
			compared += len(want)
			differ += judge(t, want, got, c.differs)
		})
	}
	t.Logf("%d outcomes of %d trials compared, %d differ as listed", compared, len(cases), differ)
}

// judge compares what both sides noted, and returns how many notes differ. They
// must differ if and only if differs says why.
func judge(t *testing.T, want, got []string, differs string) int {
	t.Helper()
	var differences []string
	for i := range max(len(want), len(got)) {
		if w, g := at(want, i), at(got, i); w != g {
			differences = append(differences, fmt.Sprintf("%d: kernel %s\n     ours %s", i, w, g))
		}
	}
	first := strings.Join(differences[:min(len(differences), 20)], "\n")
	switch {
	case len(differences) > 0 && differs == "":
		t.Errorf("%d of %d outcomes differ:\n%s", len(differences), len(want), first)
	case len(differences) == 0 && differs != "":
		t.Errorf("no longer differs: %s", differs)
	case len(differences) > 0:
		t.Logf("as listed:\n%s", first)
	}
	return len(differences)
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

// TestLiveFiles does to the kernel's files and to ours all that programs do to
// files.
func TestLiveFiles(t *testing.T) {
	s := newSides(t)
	s.compare(t, openCases)
	s.compare(t, readCases)
	s.compare(t, ringCases)
	s.compare(t, callCases)
}

// TestLiveShell reads and writes both with the shell and its tools.
func TestLiveShell(t *testing.T) {
	newSides(t).compare(t, shellCases)
}
