package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// state compares a recentfs whose tables, queues and mounts outlive it (run --state)
// with one whose do not, and measures its restart with a large table.
func state(b *bench) error {
	for _, size := range []struct {
		hosts  int
		length time.Duration // of a flood, which reaches all hosts
		goal   goal
	}{{floodSources, floodLength, goal{ratioAtLeast, 0.97}}, {65536, floodLength, goal{ratioAtLeast, 0.97}}, {many, 5 * time.Second, goal{}}} {
		if err := b.withAndWithout(size.hosts, size.length, size.goal); err != nil {
			return err
		}
	}
	return nil
}

// withAndWithout measures floods from so many hosts. With many of them it measures
// restarts too.
func (b *bench) withAndWithout(hosts int, length time.Duration, g goal) (err error) {
	dir, err := os.MkdirTemp("/dev/shm", "recentfs-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	options := fmt.Sprint("ip_list_tot=", hosts)
	keeping := func() (*daemon, error) {
		return b.daemon(b.server, rules([]int{queueSSH}, chain(queueSSH, udpMatch, "SSH", "DROP")), options,
			"--control", filepath.Join(dir, "control.sock"), "--state", filepath.Join(b.dir, "state"))
	}
	with, err := keeping()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, with.stop(), os.RemoveAll(filepath.Join(b.dir, "state"))) }()
	without, err := b.daemon(b.server, rules([]int{queueAccepting}, chain(queueAccepting, udpMatch, "SSH", "DROP")), options)
	if err != nil {
		return err
	}
	deciders := []decider{{with.process, queueSSH, 1}, {without.process, queueAccepting, 1}}
	perCPU := b.report.row("state", fmt.Sprintf("packets per CPU second with --state, %d addresses", hosts), "k/s", "without", g)
	for i := range deciders { // fill the tables
		if _, err := b.flood(deciders[i], hosts, length, unbounded); err != nil {
			return errors.Join(err, without.stop())
		}
	}
	err = b.each(func(round int) error {
		f := make([]flooded, len(deciders))
		for i := range deciders {
			turn := (round + i) % len(deciders)
			var err error
			if f[turn], err = b.flood(deciders[turn], hosts, length, unbounded); err != nil {
				return err
			}
		}
		perCPU.add(f[0].perCPU, f[1].perCPU)
		return nil
	})
	if err = errors.Join(err, without.stop()); err != nil || hosts != many {
		return err
	}
	what := fmt.Sprintf("run --state to ready with a table of %d addresses, after ", many)
	stopped := b.report.row("state", what+"a stop", "s", "", goal{oursAtMost, 1})
	killed := b.report.row("state", what+"a kill", "s", "", goal{oursAtMost, 1})
	for _, end := range []struct {
		row    *row
		signal unix.Signal
	}{{stopped, unix.SIGTERM}, {killed, unix.SIGKILL}} {
		err := b.each(func(int) error {
			if err := unix.Kill(with.cmd.Process.Pid, end.signal); err != nil {
				return err
			}
			_ = with.cmd.Wait() // of a kill it is an error
			if err := errors.Join(detach(with.mount), detach(with.mount+".module")); err != nil {
				return err
			}
			start := time.Now()
			next, err := keeping()
			if err != nil {
				return err
			}
			end.row.ours = append(end.row.ours, time.Since(start).Seconds())
			with = next
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
