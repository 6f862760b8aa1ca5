package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// trace is an instance of the kernel's tracefs of our own that sees when a
// process receives packets and when it gives their verdicts.
type trace struct{ mount, dir string }

// traceBuffer, in KB a processor, holds the events of delayLength.
const traceBuffer = "16384"

// trace begins to watch a process; record records.
func (b *bench) trace(p *process) (*trace, error) {
	t := &trace{mount: filepath.Join(b.dir, "tracing")}
	if err := os.Mkdir(t.mount, 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mount("tracefs", t.mount, "tracefs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount tracefs: %w", err)
	}
	if err := t.begin(p.cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

// begin makes the instance, which records nothing yet.
func (t *trace) begin(pid int) error {
	dir := filepath.Join(t.mount, "instances", fmt.Sprintf("recentfs-bench-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	t.dir = dir
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	var threads []string
	for _, task := range tasks {
		threads = append(threads, task.Name())
	}
	for _, set := range [][2]string{
		{"tracing_on", "0"},
		{"trace_clock", "mono"},
		{"buffer_size_kb", traceBuffer},
		{"set_event_pid", strings.Join(threads, " ")},
		{"options/event-fork", "1"},
		{"events/syscalls/sys_enter_recvmmsg/enable", "1"},
		{"events/syscalls/sys_exit_recvmmsg/enable", "1"},
		{"events/syscalls/sys_enter_sendto/enable", "1"},
	} {
		if err := t.set(set[0], set[1]); err != nil {
			return err
		}
	}
	return nil
}

func (t *trace) set(name, value string) error {
	return os.WriteFile(filepath.Join(t.dir, name), []byte(value), 0)
}

// record calls do and returns how long each batch of packets was with the
// process meanwhile, from the end of recvmmsg(2) to the beginning of sendto(2)
// on the same descriptor, in ascending order.
func (t *trace) record(do func() error) ([]time.Duration, error) {
	err := errors.Join(t.set("trace", ""), t.set("tracing_on", "1"))
	if err == nil {
		err = do()
	}
	if err := errors.Join(err, t.set("tracing_on", "0")); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(t.dir, "trace"))
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte(" [LOST ")) {
		return nil, errors.New("tracefs: events were lost: the buffer is too small")
	}
	return decisions(string(text))
}

// decisions reads lines such as
//
//	recentfs-123  [001] ..... 11684.307833: sys_recvmmsg(fd: 0xe, mmsg: ...
//	recentfs-123  [001] ..... 11684.307921: sys_recvmmsg -> 0x1
//	recentfs-123  [001] ..... 11684.307923: sys_sendto(fd: 0xe, buff: ...
func decisions(text string) (all []time.Duration, err error) {
	var socket string
	var received time.Duration // 0: nothing since the last verdict
	for line := range strings.Lines(text) {
		head, call, ok := strings.Cut(line, ": sys_")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseFloat(head[strings.LastIndexByte(head, ' ')+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("tracefs: %q: %w", line, err)
		}
		at := time.Duration(seconds*1e6) * time.Microsecond
		if from, ok := strings.CutPrefix(call, "recvmmsg("); ok {
			socket, _, _ = strings.Cut(from, ",")
		}
		switch {
		case strings.HasPrefix(call, "recvmmsg -> 0x") && !strings.HasPrefix(call, "recvmmsg -> 0xffff"): // an error
			received = at
		case received != 0 && socket != "" && strings.HasPrefix(call, "sendto("+socket+","):
			all = append(all, at-received)
			received = 0
		}
	}
	if len(all) == 0 {
		return nil, errors.New("tracefs: no packet was seen")
	}
	slices.Sort(all)
	return all, nil
}

// stop takes back what trace has made.
func (t *trace) stop() error {
	var err error
	if t.dir != "" {
		err = os.Remove(t.dir)
	}
	return errors.Join(err, detach(t.mount))
}
