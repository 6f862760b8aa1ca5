package tables

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/exchange"
	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/jiffies"
	"recentfs/namespaces"
)

// Export prints the addresses of a table, or of all tables if name is empty, as
// exchange has them. Of all tables it prints those that can be read; the error says
// which cannot.
func (p Place) Export(name string, out io.Writer) error {
	wall, err := Clock()
	if err != nil {
		return err
	}
	export := func(w io.Writer, table string, lines io.Reader, _ report.Moment, _ report.Query) (int, error) {
		return exchange.Export(w, table, lines, wall)
	}
	failed, err := p.print(name, &show{print: export, out: out})
	return errors.Join(append(failed, err)...)
}

// Clock is the running kernel's clock.
func Clock() (jiffies.Wall, error) {
	system, err := jiffies.NewSystem()
	if err != nil {
		return jiffies.Wall{}, err
	}
	return system.Wall()
}

// kernelDir is where the kernel shows the tables of its own module to a thread. No
// cover of /proc/net is in the way.
const kernelDir = "/proc/thread-self/net/xt_recent"

// Kernel hands the file of each table of the kernel's own module to visit: of a
// network namespace, which is named as in 'recentfs run --netns', or else of the
// caller's.
func Kernel(netns string, visit func(table string, lines io.Reader) error) error {
	runtime.LockOSThread() // whose namespace thread-self shows
	defer runtime.UnlockOSThread()
	read := func() error { return readKernel(visit) }
	if netns == "" {
		return read()
	}
	path, err := namespaces.Locate(netns)
	if err != nil {
		return err
	}
	ns, err := namespaces.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", netns, err)
	}
	defer ns.Close()
	return ns.Do(read)
}

func readKernel(visit func(table string, lines io.Reader) error) error {
	d, err := openDir(unix.AT_FDCWD, kernelDir, kernelDir)
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("the running kernel has no xt_recent, or its module is not loaded: there is nothing to import")
	}
	if err != nil {
		return err
	}
	defer d.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &fs); err != nil {
		return fmt.Errorf("%s: %w", kernelDir, err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("%s: it is not the kernel's own, something is mounted over it", kernelDir)
	}
	names, err := d.tables()
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := d.table(name, unix.O_RDONLY)
		if err != nil {
			return err
		}
		err = visit(name, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
