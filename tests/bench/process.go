package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv marks a process of our own program that is to run a helper.
const helperEnv = "RECENTFS_BENCH_HELPER"

const (
	// patience is how long a process may take to say that it is ready.
	patience = 30 * time.Second
	// grace is how long it may take to end when it is asked to.
	grace = 10 * time.Second
)

// process is a program that serves until it is stopped.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

// command prepares a program. When ctx ends it is told so by SIGTERM, and it
// has a process group of its own, so that an interrupt at the terminal reaches
// it in that way alone.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = grace
	return cmd
}

// helper prepares a helper of our own program.
func helper(ctx context.Context, args ...string) *exec.Cmd {
	cmd := command(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	return cmd
}

// serve starts a program on the thread and waits for its line "ready".
func (t *thread) serve(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd}
	cmd.Stderr = &p.stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := t.start(cmd); err != nil {
		return nil, err
	}
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if lines.Text() == "ready" {
				ready <- true
			}
		}
		ready <- false
	}()
	select {
	case ok := <-ready:
		if ok {
			return p, nil
		}
		err = p.wait()
	case <-time.After(patience):
		err = errors.Join(fmt.Errorf("not ready after %v", patience), p.stop())
	}
	return nil, fmt.Errorf("%v: it did not get ready: %w", cmd, err)
}

// wait waits for the end and tells why it was a failure.
func (p *process) wait() error {
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.TrimSpace(p.stderr.String()))
	}
	return nil
}

// stop ends the process and all that it started. How it ends then is its own
// affair.
func (p *process) stop() error {
	if err := p.cmd.Cancel(); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	kill := time.AfterFunc(grace, func() { unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) })
	defer kill.Stop()
	_ = p.cmd.Wait()
	return nil
}

// cpu is the processor time of all its threads so far.
func (p *process) cpu() (time.Duration, error) {
	var ts unix.Timespec
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of
	// include/linux/posix-timers_types.h.
	clock := int32(^p.cmd.Process.Pid<<3 | 2)
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("processor time of %v: %w", p.cmd, err)
	}
	return time.Duration(ts.Nano()), nil
}

// output runs a program on the thread to its end and returns what it prints.
func (t *thread) output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := t.start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// numbers runs a program that prints numbers into to.
func (t *thread) numbers(cmd *exec.Cmd, to ...any) error {
	text, err := t.output(cmd)
	if err != nil {
		return err
	}
	if _, err := fmt.Sscan(text, to...); err != nil {
		return fmt.Errorf("%v printed %q: %w", cmd, text, err)
	}
	return nil
}
