package live

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// goneCases use an open file of foo after its last rule is gone, and after a new
// table has its name. It was read up to the middle of a line.
var goneCases = []struct {
	name    string
	use     func(tr *fileTrial, fd int)
	differs string
}{
	{name: "reads and writes", use: func(tr *fileTrial, fd int) {
		tr.read(fd, 10)
		tr.read(fd, 4096)
		tr.write(fd, "+1.2.3.4")
		tr.write(fd, "/")
		tr.write(fd, "no address")
		n, err := unix.Pread(fd, make([]byte, 10), 0)
		tr.add("pread", n, err)
		tr.add("fsync", "ok", unix.Fsync(fd))
	}},
	{name: "reads and writes of nothing, and seeks", use: func(tr *fileTrial, fd int) {
		tr.read(fd, 0)
		tr.write(fd, "")
		tr.seek(fd, 0, unix.SEEK_SET)
	}, differs: "FUSE answers these itself. procfs has no table to ask"},
	{name: "attributes", use: func(tr *fileTrial, fd int) {
		tr.add("fstat", "ok", unix.Fstat(fd, &unix.Stat_t{}))
		tr.add("fchmod", "ok", unix.Fchmod(fd, 0o600))
	}, differs: "ESTALE. procfs still has the inode"},
	{name: "opened again by its descriptor", use: func(tr *fileTrial, fd int) {
		again, err := unix.Open(fmt.Sprintf("/proc/thread-self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		tr.add("open", "ok", err)
		unix.Close(again)
	}, differs: "ESTALE. procfs still finds the inode, and says ENOENT"},
}

// TestLiveGone compares open files of a table that is gone.
func TestLiveGone(t *testing.T) {
	s := newSides(t)
	rules := func(dir string, there bool) {
		switch {
		case dir == s.kernel && there:
			s.ns.Sh(t, "iptables-legacy -w -A INPUT -m recent --set --name foo")
		case dir == s.kernel:
			s.ns.Sh(t, "iptables-legacy -w -D INPUT -m recent --set --name foo")
		case there:
			s.daemon.SetRules(bothTables)
			s.daemon.Must("reload")
		default:
			s.daemon.SetRules(strings.ReplaceAll(bothTables, "--name foo", "--name bar"))
			s.daemon.Must("reload")
		}
	}
	for _, c := range goneCases {
		t.Run(c.name, func(t *testing.T) {
			trial := func(dir string) (notes []string) {
				tr, fd := s.newTrial(dir), -1
				step := func(do func()) { s.ns.Do(func() error { do(); return nil }) }
				step(func() {
					tr.put(10, 12)
					fd = tr.foo()
					tr.read(fd, 10)
				})
				rules(dir, false)
				step(func() { c.use(tr, fd) })
				rules(dir, true)
				step(func() {
					tr.put(20, 22)
					c.use(tr, fd)
					notes = tr.finish()
				})
				return notes
			}
			judge(t, trial(s.kernel), trial(s.ours), c.differs)
		})
	}
}
