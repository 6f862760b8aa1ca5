package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/fs"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// some is the size of the smaller table that is read.
const some = 65536

// linear is how much longer an entry may take in the larger table: its memory
// is in no cache, that of the smaller partly is. Quadratic would be 15.
const linear = 1.5

// mounted is a process that has mounted something of ours or of a peer.
type mounted struct {
	*process
	mount string
}

// serveMount starts a program that mounts a new directory of that name.
func (b *bench) serveMount(name string, cmd func(mount string) *exec.Cmd) (*mounted, error) {
	mount := filepath.Join(b.dir, name)
	if err := os.Mkdir(mount, 0o755); err != nil {
		return nil, err
	}
	p, err := b.free.serve(cmd(mount))
	if err != nil {
		return nil, errors.Join(err, detach(mount))
	}
	return &mounted{p, mount}, nil
}

func (m *mounted) stop() error { return errors.Join(m.process.stop(), detach(m.mount)) }

// table is the path of the table with so many addresses.
func (m *mounted) table(addresses int) string {
	return filepath.Join(m.mount, strconv.Itoa(addresses))
}

// serveFull mounts full tables of the sizes given.
func (b *bench) serveFull(name string, sizes ...int) (*mounted, error) {
	return b.serveMount(name, func(mount string) *exec.Cmd {
		args := []string{"serve", mount}
		for _, s := range sizes {
			args = append(args, strconv.Itoa(s))
		}
		return helper(b.ctx, args...)
	})
}

// reads measures cat of a table of full entries through the mount, and how
// that grows with the table.
func reads(b *bench) (err error) {
	server, err := b.serveFull("read", some, many)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	small, large := server.table(some), server.table(many)
	lines, size, err := readTable(small)
	if err != nil {
		return err
	}
	if lines != some {
		return fmt.Errorf("%s has %d lines", small, lines)
	}
	what := fmt.Sprintf("cat of %d full entries, %.1f MB", some, float64(size)/1e6)
	cat := b.report.row("read", what, "s", "", goal{oursAtMost, 0.1})
	growth := b.report.row("read", fmt.Sprintf("cat, ns per entry at %d", many), "ns", fmt.Sprintf("at %d", some), goal{ratioAtMost, linear})
	return b.each(func(int) error {
		few, err := b.cat(small)
		if err != nil {
			return err
		}
		all, err := b.cat(large)
		if err != nil {
			return err
		}
		cat.ours = append(cat.ours, few.Seconds())
		growth.add(float64(all)/many, float64(few)/some)
		return nil
	})
}

// cat is how long cat(1) takes for a file.
func (b *bench) cat(path string) (time.Duration, error) {
	start := time.Now()
	err := b.shell(b.free, "exec cat "+path+" > /dev/null")
	return time.Since(start), err
}

// serveTables is the helper that mounts full tables of the sizes given until
// it is told to end.
func serveTables(args []string) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	p := recent.DefaultParams(recent.Classic)
	p.ListTot, p.PktListTot = many, stampsKept
	clock, err := jiffies.NewSystem()
	if err != nil {
		return err
	}
	module, err := recent.NewModule(p, clock)
	if err != nil {
		return err
	}
	m, folder, err := fs.Mount(args[0])
	if err != nil {
		return err
	}
	reg := module.NewRegistry(folder.Update)
	for _, size := range args[1:] {
		entries, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		rules, err := reg.CheckAll([]recent.Info{{Name: size, CheckSet: recent.Set, Mask: recent.AllOnes}})
		if err != nil {
			return err
		}
		var batch recent.Batch
		set := matcher(rules[0], &batch)
		for i := range entries {
			for range stampsKept {
				a := hostAddr(i)
				set(clock.Now(), &a)
			}
		}
		batch.End()
	}
	fmt.Println("ready")
	<-stop
	return m.Unmount()
}
