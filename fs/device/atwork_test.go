package device

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// stuck is a file system whose WRITEs, GETATTRs and READs wait.
type stuck struct {
	crowd
	write, stat chan struct{}
}

func (s stuck) GetAttr(<-chan struct{}, *fuse.GetAttrIn, *fuse.AttrOut) fuse.Status {
	<-s.stat
	return fuse.OK
}

func (s stuck) Write(<-chan struct{}, *fuse.WriteIn, []byte) (uint32, fuse.Status) {
	<-s.write
	return 1, fuse.OK
}

const (
	leads = "the loop is at the same request "
	lies  = "requests wait, and the loop does not take them "
	slow  = "the same request is at work "
)

// finds waits until exactly that is at work, and looks again.
func (c *Conn) finds(t *testing.T, want ...string) {
	t.Helper()
	look := func() error {
		var all []string
		for what, number := range c.AtWork {
			all = append(all, fmt.Sprint(what, " ", number))
		}
		slices.Sort(all)
		if !slices.Equal(all, want) {
			return fmt.Errorf("at work are %q, want %q", all, want)
		}
		return nil
	}
	lab.Eventually(t, "it finds", look)
	if err := look(); err != nil {
		t.Errorf("a moment later: %v", err)
	}
}

// TestAtWork has requests that hang in each place of the loop, with and without memory
// that outlives the process.
func TestAtWork(t *testing.T) {
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprintf("kept %t", kept), func(t *testing.T) {
			c, kernel := adopted(t)
			if !kept {
				c.memory = nil
			}
			fs := stuck{crowd{fuse.NewDefaultRawFileSystem(), make(chan struct{}, 2*maxHuge), make(chan struct{})}, make(chan struct{}), make(chan struct{})}
			c.finds(t) // nobody serves it
			if err := c.Serve(fs, Options(), false); err != nil {
				t.Fatal(err)
			}
			c.finds(t)

			write := asked(opWrite, 2, fuse.WriteIn{Size: 1}, "x")
			send(t, kernel, numbered(write, 2))
			c.finds(t, leads+"1")
			send(t, kernel, numbered(write, 4))
			c.finds(t, leads+"1")
			fs.write <- struct{}{}
			c.finds(t, leads+"3")
			fs.write <- struct{}{}
			c.finds(t)

			send(t, kernel, numbered(asked(opGetAttr, 2, fuse.GetAttrIn{}, ""), 8))
			c.finds(t, slow+"8")
			fs.stat <- struct{}{}
			c.finds(t)

			// Of these, some wait for memory.
			for n := range uint64(maxHuge + 2) {
				send(t, kernel, numbered(asked(opRead, 2, fuse.ReadIn{Size: MaxRead}, ""), 100+n))
			}
			lab.Eventually(t, "all that can are at work", func() error {
				n := 0
				for what := range c.AtWork {
					if what+" " == slow {
						n++
					}
				}
				if n != maxHuge {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			send(t, kernel, numbered(write, 6))
			lab.Eventually(t, "the loop goes on", func() error {
				select {
				case fs.write <- struct{}{}:
					return nil
				default:
					return fmt.Errorf("it does not")
				}
			})
			close(fs.let)
			c.finds(t)
		})
	}
}

// TestNobodyReads has a loop that does not take its requests.
func TestNobodyReads(t *testing.T) {
	c, kernel := adopted(t)
	l := loopOn(c.fd, file{fuse.NewDefaultRawFileSystem()})
	c.serving.Store(l)
	c.finds(t)
	send(t, kernel, numbered(release, 2))
	c.finds(t, lies+"0")
	l.leaving.Store(true)
	c.finds(t) // the next process reads them
	l.leaving.Store(false)
	c.inUse.Lock()
	c.finds(t) // it is just being closed
	c.inUse.Unlock()
	header(l.in).Unique = 4
	slow := l.noteSlow()
	slow.begin()
	slow.end()
	l.nextSlow--
	l.noteSlow() // the next one in its place, which waits for memory
	if _, err := unix.Read(c.fd, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	c.finds(t)
}
