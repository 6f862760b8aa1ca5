package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"recentfs/tests/lab"
)

// process is a client that runs.
type process struct {
	*exec.Cmd
	output lab.Output
	ended  chan struct{}
}

// start starts a client in the directory with the tables.
func (w *world) start(name string, args ...string) *process {
	w.Helper()
	return w.startAs(0, name, args...)
}

// startAs is start as another user.
func (w *world) startAs(uid uint32, name string, args ...string) *process {
	w.Helper()
	p := &process{Cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.Dir = w.tables
	p.Stdout, p.Stderr = &p.output, &p.output
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if err := w.d.NS.Start(p.Cmd); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.Wait()
	}()
	w.Cleanup(func() { syscall.Kill(-p.Process.Pid, syscall.SIGKILL) })
	return p
}

// startClient starts testdata/client.c.
func (w *world) startClient(uid uint32, args ...string) *process {
	w.Helper()
	path := filepath.Join(w.d.Dir, "client")
	if _, err := os.Stat(path); err != nil {
		if out, err := exec.Command("gcc", "-O1", "-Wall", "-o", path, "testdata/client.c").CombinedOutput(); err != nil {
			w.Fatalf("gcc: %v: %s", err, out)
		}
	}
	return w.startAs(uid, path, args...)
}

// kills ends a client, and what it has started, by a signal.
func (w *world) kills(p *process, s syscall.Signal) {
	w.Helper()
	w.killsAll([]*process{p}, s)
}

// killsAll ends all clients, by each of the signals in turn.
func (w *world) killsAll(all []*process, signals ...syscall.Signal) {
	w.Helper()
	for i, p := range all {
		if err := syscall.Kill(-p.Process.Pid, signals[i%len(signals)]); err != nil && !errors.Is(err, syscall.ESRCH) {
			w.Fatal(err)
		}
	}
	// At once, but the machine may have other things to do.
	const patience = 5 * time.Second
	late := time.After(patience)
	for _, p := range all {
		select {
		case <-p.ended:
		case <-late:
			stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", p.Process.Pid))
			w.Fatalf("%v does not end:\n%s", p.Args, stack)
		}
	}
}

// ends waits until a client has ended by itself, in good order.
func (w *world) ends(p *process) string {
	w.Helper()
	select {
	case <-p.ended:
	case <-time.After(lab.Patience + time.Duration(lab.Soak(0, 60))*time.Second):
		stack, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stack", p.Process.Pid))
		w.Fatalf("%v does not end:\n%s", p.Args, stack)
	}
	if code := p.ProcessState.ExitCode(); code != 0 {
		w.Errorf("%v: %v: %s", p.Args, p.ProcessState, &p.output)
	}
	return p.output.String()
}

// begun waits until a client says that it is ready.
func (w *world) begun(p *process) {
	w.Helper()
	lab.Eventually(w, "it begins", func() error {
		if text := p.output.String(); !strings.HasPrefix(text, "ready\n") {
			return fmt.Errorf("%v says %q", p.Args, text)
		}
		return nil
	})
}

// in waits until a thread of a client is in this function of the kernel.
func (w *world) in(p *process, function string) {
	w.Helper()
	lab.Eventually(w, "it waits in "+function, func() error {
		stacks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stack", p.Process.Pid))
		if err != nil {
			return err
		}
		var text []byte
		for _, name := range stacks {
			stack, _ := os.ReadFile(name)
			text = append(text, stack...)
		}
		if !bytes.Contains(text, []byte(function)) {
			return fmt.Errorf("%v is in\n%s", p.Args, text)
		}
		return nil
	})
}
