package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxMemory is what the processes of one run may have together, with the race
// detector. A watch reads their resident memory: a limit of address space
// would hit tables and the race detector, which reserve much and use little.
const maxMemory = 4 << 30

// frame gives a program namespaces of its own: what a mutant leaves behind, processes
// and mounts, ends with the first process in them. Tests make network namespaces
// themselves. This process's own is the one where the kernel's LOG can be asked to log.
var frame = []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
	"sh", "-c", `"$@"; exit $?`, "sh"} // the shell reaps what the tests leave

// ending is how a run ended.
type ending struct {
	passed bool
	why    string // if not: the test that failed, "timeout" or "memory"
	output string
	took   time.Duration
}

// runFramed runs a test binary in its package's directory.
func runFramed(ctx context.Context, dir string, env []string, limit time.Duration, binary string, args ...string) (ending, error) {
	tmp, err := os.MkdirTemp("", "mutant-")
	if err == nil {
		err = os.Chmod(tmp, 0o755) // tests run the program as other users too
	}
	if err != nil {
		return ending{}, err
	}
	defer os.RemoveAll(tmp)

	// The test binary's own timeout says more, but it may not work in a mutant.
	ctx, cancel := context.WithTimeoutCause(ctx, limit+limit/10+time.Second, errors.New(timedOut))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	command := append(append(frame[1:len(frame):len(frame)], binary, "-test.timeout="+limit.String(), "-test.failfast"), args...)
	cmd := exec.CommandContext(ctx, frame[0], command...)
	var output capped
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &output, &output
	cmd.Env = append(append(os.Environ(), "TMPDIR="+tmp), env...)
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error {
		fuse := fuseMounts(cmd.Process.Pid)
		defer abort(fuse)
		return cmd.Process.Kill()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return ending{}, err
	}
	go watchMemory(ctx, cmd.Process.Pid, stop)
	err = cmd.Wait()
	e := ending{passed: err == nil, output: output.String(), took: time.Since(begin)}
	if cause := context.Cause(ctx); err != nil {
		e.why = reason(e.output)
		if cause != nil {
			e.why = cause.Error()
		}
	}
	return e, nil
}

const timedOut = "timeout"

var failed = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// reason is what a failed run says first of itself.
func reason(output string) string {
	if strings.Contains(output, "panic: test timed out after") {
		return timedOut
	}
	if m := failed.FindStringSubmatch(output); m != nil {
		return m[1]
	}
	for _, sign := range []string{"panic: ", "fatal error: ", "DATA RACE", "unexpected fault address"} {
		if at := strings.Index(output, sign); at >= 0 {
			line, _, _ := strings.Cut(output[at:], "\n")
			return line
		}
	}
	return "exit status"
}

// capped keeps the beginning and the end of an output, which a mutant may make endless.
type capped struct{ begin, end []byte }

const keep = 1 << 17

func (c *capped) Write(p []byte) (int, error) {
	n := len(p)
	room := min(keep-len(c.begin), len(p))
	c.begin = append(c.begin, p[:room]...)
	c.end = append(c.end, p[room:]...)
	if len(c.end) > 2*keep {
		c.end = append([]byte(nil), c.end[len(c.end)-keep:]...)
	}
	return n, nil
}

func (c *capped) String() string { return string(c.begin) + string(c.end) }
