package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/namespaces"
)

const (
	idleNamespaces = 1000
	namingTime     = 60 * time.Second // at most
	settling       = time.Second      // until queues without packets hold no thread
	idleTable      = "SSH"
)

// idle measures what a network namespace costs in which nothing happens:
// what a daemon with many of them has more than one that has but its own.
func idle(b *bench) (err error) {
	home, err := b.island()
	if err != nil {
		return err
	}
	defer close(home.calls)
	crowd, err := b.island()
	if err != nil {
		return err
	}
	defer close(crowd.calls)
	n, err := b.crowd(crowd)
	if err != nil {
		return err
	}
	if n < idleNamespaces {
		b.report.note("namespaces: %d of %d were made in %v.", n, idleNamespaces, namingTime)
	}
	row := func(what, unit string) *row {
		return b.report.row("namespaces", fmt.Sprintf(what, n), unit, "", goal{})
	}
	bytes := row("resident bytes per idle namespace, of %d", "B")
	threads := row("threads of the process with %d", "")
	more := row("threads more than with none, with %d", "")
	files := row("descriptors per namespace, of %d", "")
	ready := row("run to ready, per namespace, of %d", "ms")
	fresh := row("from a new name to its table, beside %d", "ms")
	return b.each(func(int) error {
		none, _, err := b.idling(home, false)
		if err != nil {
			return err
		}
		all, appears, err := b.idling(crowd, true)
		if err != nil {
			return err
		}
		bytes.ours = append(bytes.ours, (all.resident-none.resident)/float64(n))
		threads.ours = append(threads.ours, all.threads)
		more.ours = append(more.ours, all.threads-none.threads)
		files.ours = append(files.ours, (all.descriptors-none.descriptors)/float64(n))
		ready.ours = append(ready.ours, milliseconds(all.ready-none.ready)/float64(n))
		fresh.ours = append(fresh.ours, milliseconds(appears))
		return nil
	})
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// island is a thread with mounts of its own, and nothing in /run. Names that are
// made there are nobody else's, and go when it and what it has started are gone.
func (b *bench) island() (*thread, error) {
	all, err := processors()
	if err != nil {
		return nil, err
	}
	return newThread(all, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("mounts of its own: %w", err)
		}
		if err := unix.Mount("none", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount on /run: %w", err)
		}
		return os.Mkdir(namespaces.Directory, 0o755)
	})
}

// crowd makes the namespaces, and returns how many.
func (b *bench) crowd(on *thread) (n int, err error) {
	for start := time.Now(); n < idleNamespaces && time.Since(start) < namingTime; n++ {
		if err := b.ctx.Err(); err != nil {
			return n, err
		}
		if err := on.do(func() error { return newName(fmt.Sprintf("idle%d", n)) }); err != nil {
			return n, err
		}
	}
	return n, nil
}

// newName makes a namespace as 'ip netns add' does, and leaves the thread in
// the one where it was.
func newName(name string) (err error) {
	const own = "/proc/thread-self/ns/net"
	home, err := namespaces.Open(own)
	if err != nil {
		return err
	}
	defer home.Close()
	file, err := os.Create(namePath(name))
	if err != nil {
		return err
	}
	file.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, home.Enter()) }()
	return unix.Mount(own, file.Name(), "", unix.MS_BIND, "")
}

func namePath(name string) string { return filepath.Join(namespaces.Directory, name) }

// idler is what a daemon has of the kernel, and how long it took to start.
type idler struct {
	resident, threads, descriptors float64
	ready                          time.Duration
}

// idling starts a daemon for all names there are on a thread and looks at it.
// If told to, it then makes another name and returns how long that takes to
// have its table.
func (b *bench) idling(on *thread, another bool) (i idler, appears time.Duration, err error) {
	start := time.Now()
	d, err := b.daemon(on, rules([]int{queueSSH}, chain(queueSSH, udpMatch, idleTable, "DROP")), "ip_list_tot=100", "--netns", namespaces.All)
	if err != nil {
		return i, 0, err
	}
	i.ready = time.Since(start)
	defer func() { err = errors.Join(err, d.stop()) }()
	time.Sleep(settling)
	if err := i.look(d.cmd.Process.Pid); err != nil || !another {
		return i, 0, err
	}
	err = on.do(func() (err error) {
		appears, err = d.appearance("another")
		return err
	})
	return i, appears, err
}

// look reads what the kernel says of a process.
func (i *idler) look(pid int) error {
	proc := fmt.Sprintf("/proc/%d/", pid)
	for _, field := range []struct {
		file, name string
		scale      float64
		to         *float64
	}{
		{"smaps_rollup", "Pss:", 1 << 10, &i.resident},
		{"status", "Threads:", 1, &i.threads},
	} {
		text, err := os.ReadFile(proc + field.file)
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), "\n"+field.name)
		if _, err := fmt.Sscan(rest, field.to); err != nil {
			return fmt.Errorf("%s%s: %s: %w", proc, field.file, field.name, err)
		}
		*field.to *= field.scale
	}
	files, err := os.ReadDir(proc + "fd")
	i.descriptors = float64(len(files))
	return err
}

// appearance makes a namespace, waits for its table, and takes the name away.
func (d *daemon) appearance(name string) (took time.Duration, err error) {
	if err := newName(name); err != nil {
		return 0, err
	}
	named := time.Now()
	defer func() { err = errors.Join(err, detach(namePath(name)), os.Remove(namePath(name))) }()
	for table := d.table(filepath.Join("ns", name, idleTable)); ; time.Sleep(100 * time.Microsecond) {
		if _, err := os.Stat(table); err == nil {
			return time.Since(named), nil
		}
		if time.Since(named) > patience {
			return 0, fmt.Errorf("%s did not appear in %v", table, patience)
		}
	}
}
