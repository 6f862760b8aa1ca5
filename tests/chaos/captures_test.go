package chaos

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// endless says the same again and again, after something else.
type endless struct{ begin, again []byte }

func (e *endless) Read(p []byte) (n int, err error) {
	n = copy(p, e.begin)
	e.begin = e.begin[n:]
	if n == 0 {
		n = copy(p, e.again)
		e.again = append(e.again[n:], e.again[:n]...)
	}
	return n, nil
}

// numbers are 32-bit numbers, as a capture file has them.
func numbers(all ...uint32) (b []byte) {
	for _, n := range all {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// zipped is a stream as gzip packs it.
func zipped(r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		z := gzip.NewWriter(pw)
		_, err := io.Copy(z, r)
		pw.CloseWithError(err)
	}()
	return pr
}

// TestCaptures has replay read what never ends, or claims to be large. It gives up, or
// goes on until it is told to end, and needs little memory.
func TestCaptures(t *testing.T) {
	var (
		pcap    = numbers(0xa1b2c3d4, 4<<16|2, 0, 0, 262144, 101)
		packet  = append(numbers(1, 0, 28, 28), append([]byte{0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17}, make([]byte, 18)...)...)
		section = numbers(0x0a0d0d0a, 28, 0x1a2b3c4d, 1, 0xffffffff, 0xffffffff, 28)
		device  = numbers(1, 20, 101, 0, 20)
	)
	rules := lab.NewDaemon(t, lab.NewNetns(t), "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --name seen --set\nCOMMIT\n").Rules
	for _, c := range []struct {
		name string
		file func() io.Reader
		ends bool // by itself, with an error
	}{
		{"zeros", func() io.Reader { return &endless{nil, make([]byte, 4096)} }, true},
		{"packed zeros", func() io.Reader { return zipped(&endless{nil, make([]byte, 4096)}) }, true},
		{"packets", func() io.Reader { return &endless{pcap, bytes.Repeat(packet, 90)} }, false},
		{"packed packets", func() io.Reader { return zipped(&endless{pcap, bytes.Repeat(packet, 90)}) }, false},
		{"a packet of 4 GB", func() io.Reader {
			return &endless{append(pcap, numbers(1, 0, 0xfffffff0, 0xfffffff0)...), make([]byte, 4096)}
		}, true},
		{"sections", func() io.Reader { return &endless{nil, bytes.Repeat(section, 100)} }, false},
		{"interfaces", func() io.Reader { return zipped(&endless{section, bytes.Repeat(device, 100)}) }, true},
		{"a block of 4 GB", func() io.Reader { return &endless{append(section, numbers(6, 0xfffffffc)...), make([]byte, 4096)} }, true},
		{"blocks of 16 MB", func() io.Reader {
			return zipped(&endless{section, append(append(numbers(99, 16<<20), make([]byte, 16<<20-12)...), numbers(16<<20)...)})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(lab.Program(t), "replay", "-r", rules, "-")
			var said lab.Output
			cmd.Stdin, cmd.Stdout, cmd.Stderr = bufio.NewReader(c.file()), io.Discard, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				cmd.Wait()
				close(ended)
			}()
			if !c.ends {
				time.Sleep(time.Duration(lab.Soak(1, 30)) * time.Second) // as long as it reads
				cmd.Process.Signal(syscall.SIGTERM)
			}
			select {
			case <-ended:
			case <-time.After(lab.Patience):
				cmd.Process.Kill()
				t.Fatalf("it does not end; it says %s", &said)
			}
			if code := cmd.ProcessState.ExitCode(); c.ends && (code != 1 || !strings.Contains(said.String(), "recentfs replay: ")) {
				t.Errorf("%v: %s", cmd.ProcessState, &said)
			}
			const most = 700 << 10 // with the race detector, and as much as the parent had
			if kib := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss; kib > most {
				t.Errorf("it had %d MiB", kib>>10)
			} else {
				t.Logf("%v, %d MiB: %.300s", cmd.ProcessState, kib>>10, &said)
			}
		})
	}
}
