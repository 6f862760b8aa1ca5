package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/fs"
	"recentfs/fs/procnet"
)

// The names of what outlives the process: see internal/handover. Those of queues have
// the namespace too.
const (
	tablesMount = "mount.tables"
	moduleMount = "mount.module"
)

// outliving are the descriptors of mounts and queues that outlive this process, if
// Config.State is set: for the holder, and for a successor.
type outliving struct {
	kept   bool             // Config.State is set
	holder *handover.Holder // nil where nobody holds anything
	// holds says that the holder has what is in before, since it comes from there.
	holds bool

	mu     sync.Mutex
	before handover.Held // guarded by mu: what the process before has left and nobody took yet
	given  handover.Held // guarded by mu: what a successor gets
}

// queueName is the name of a queue's descriptors. A ":" may not be in it.
func queueName(netns string, number uint16) string {
	return fmt.Sprintf("queue.%s.%d", url.QueryEscape(folderName(netns)), number)
}

// take gives what the process before has left under a name, or nothing.
func (o *outliving) take(name string) []int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.before.Take(name)
}

// store has the holder keep descriptors, in place of what it has under the name. If it
// does not, what is not stored ends with this process.
func (o *outliving) store(name string, fds []int) {
	o.drop(name)
	if err := o.holder.Store(name, fds...); err != nil {
		logrus.Warnf("%s ends with this process: %v", name, err)
	}
}

// goOn is store for what was taken, of which the holder may have copies already.
func (o *outliving) goOn(name string, fds []int) {
	if !o.holds {
		o.store(name, fds)
	}
}

// drop has the holder close what it keeps under a name.
func (o *outliving) drop(name string) {
	if err := o.holder.Remove(name); err != nil {
		logrus.Warnf("%s: %v", name, err)
	}
}

// give keeps copies of descriptors for a successor, if there is one.
func (o *outliving) give(name string, fds []int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.given == nil {
		return nil // the holder has them
	}
	for _, fd := range fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s ends with this process: duplicate its descriptor: %w", name, err)
		}
		o.given[name] = append(o.given[name], copied)
	}
	return nil
}

// dropRest closes what the process before has left, and nobody wants.
func (s *Server) dropRest() {
	o := &s.outliving
	o.mu.Lock()
	rest := maps.Clone(o.before)
	clear(o.before)
	o.mu.Unlock()
	for name := range rest {
		o.drop(name)
		logrus.Infof("%s of the process before is not served any more", name)
	}
	abandon(s.host, s.host.Uncover, rest)
}

// Abandon takes away what nobody goes on with: mounts are unmounted, and queues are
// unbound. So nobody waits for them.
func Abandon(held handover.Held) { abandon(fs.OwnSites{}, uncoverProcNet, held) }

func abandon(sites fs.Sites, uncover func() error, held handover.Held) {
	for _, name := range []string{tablesMount, moduleMount} {
		if fds := held.Take(name); len(fds) > 0 {
			err := fs.Abandon(sites, asFiles(name, fds))
			if name == moduleMount {
				err = errors.Join(err, uncover())
			}
			if err != nil {
				logrus.Warnf("%s: %v", name, err)
			}
		}
	}
	held.Close()
}

// uncoverProcNet takes a cover away that leads to a module which is gone.
func uncoverProcNet() error {
	if module := procnet.Module(); module == "" || fs.IsLive(module) {
		return nil
	}
	return procnet.Unmount()
}

func asFiles(name string, fds []int) (files []*os.File) {
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files
}

// takeOver gets what the process before has left, from the holder or, with
// Config.TakeOver, from that process itself, which ends. At the end it lets the holder
// go.
func (s *Server) takeOver(ctx context.Context, ready func()) (err error) {
	o := &s.outliving
	before := handover.Received()
	if s.config.TakeOver {
		before.Close()
		if err := s.checkBefore(); err != nil {
			return fmt.Errorf("--takeover: %w: the other recentfs goes on", err)
		}
		if before, err = handover.Take(s.takeoverSocket()); err != nil {
			return err
		}
	}
	if !o.kept {
		before.Close()
	} else if o.holder, err = handover.NewHolder(); err != nil {
		before.Close()
		return err
	}
	defer o.holder.Close()
	o.before, o.holds = before, !s.config.TakeOver
	s.goesOn = len(before) > 0
	ready()
	<-ctx.Done()
	s.dropRest() // as after a start that failed
	return nil
}

// checkBefore finds what would stop a start, while another recentfs can still go on.
func (s *Server) checkBefore() error {
	if _, err := s.host.Present(); err != nil {
		return err
	}
	for _, dir := range []string{s.config.Mountpoint, s.config.State} {
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
	}
	return nil
}

func (s *Server) takeoverSocket() string {
	return filepath.Join(filepath.Dir(s.config.Control), "handover.sock")
}

// awaitSuccessor lets another process take over, until ctx is done.
func (s *Server) awaitSuccessor(ctx context.Context, ready func()) error {
	if !s.outliving.kept {
		ready()
		<-ctx.Done()
		return nil
	}
	socket, err := handover.Listen(s.takeoverSocket())
	if err != nil {
		return err
	}
	ready()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := socket.Accept(); err == nil {
			s.successors <- n
		}
	}()
	<-ctx.Done()
	err = socket.Close()
	<-done
	return err
}

// leave says that this process ends and leaves its mounts and queues to the next one.
// It is called before Stop.
func (s *Server) leave(to *handover.Successor) {
	s.leaving, s.successor = true, to
	if to != nil {
		s.outliving.given = make(handover.Held)
	}
}

// handOver gives the successor what the tasks have left to it. All have ended.
func (s *Server) handOver() error {
	var err error
	if s.successor == nil {
		select {
		case n := <-s.successors: // too late: it learns that nothing is left
			n.Close()
		default:
		}
	} else {
		if err = s.successor.Give(s.outliving.given); err != nil {
			abandon(s.host, s.host.Uncover, s.outliving.given)
		}
		s.successor.Close()
	}
	s.outliving.given.Close()
	return err
}

// folderName is what a namespace's directories are called, here and in Config.State.
func folderName(netns string) string {
	if netns == "" {
		return "host" // as --netns all calls it
	}
	return url.PathEscape(netns)
}
