package device

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// A connection goes on as long as somebody holds its descriptor. Requests wait in the
// kernel while nobody reads them. A process that is told to end answers what it has
// read: Leave. One that is killed cannot. So the next one has the kernel send these
// requests again (FUSE_NOTIFY_RESEND, since Linux 6.9), with IsResent numbers, before
// it reads any other. The kernel puts them before the others, so that a write which
// may have been done already is the first. At most one write is among them, since only
// the goroutine that reads answers writes.
//
// Older kernels send nothing again, and nobody knows what was asked. The memory has
// the numbers. Whoever asked gets EIO, once, instead of waiting for ever.

// resent is set in the number of a request that the kernel sends again:
// FUSE_UNIQUE_RESEND. The answer has it too.
const resent = 1 << 63

// IsResent tells whether a process before may have answered a request, by its number,
// and returns the number that the request had there.
func IsResent(unique uint64) (before uint64, ok bool) {
	return unique &^ resent, unique&resent != 0
}

// ErrEnded says that a connection has ended: nobody has it mounted or open any more.
var ErrEnded = errors.New("the connection has ended")

// Adopt goes on with a connection of a process before, of which the files are the
// device and the memory, in any order. It answers nothing before Serve. The files are
// closed. After an error, dev is the st_dev of the file system that nobody serves, or 0
// if it is not known or has ended.
func Adopt(files []*os.File, area int) (c *Conn, dev uint64, err error) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	device, memory, err := sort(files)
	if err != nil {
		if device != nil {
			dev = mountedDev(int(device.Fd()))
		}
		return nil, dev, err
	}
	c = &Conn{ended: make(chan struct{})}
	if c.fd, err = duplicate(device); err != nil {
		return nil, 0, err
	}
	if err = c.alive(); err == nil {
		dev, err = c.adopt(memory, area)
	}
	if err != nil {
		c.Close()
		return nil, dev, err
	}
	return c, dev, nil
}

// adopt goes on with the memory of a connection that has not ended.
func (c *Conn) adopt(memory *os.File, area int) (dev uint64, err error) {
	dev = mountedDev(c.fd)
	fd, err := duplicate(memory)
	if err != nil {
		return dev, err
	}
	m, err := mapMemory(fd)
	if err != nil {
		unix.Close(fd)
		return dev, err
	}
	if dev == 0 && string(m.shared.magic[:]) == memoryMagic {
		dev = m.shared.dev
	}
	if err = m.check(area); err == nil && m.shared.dev != dev {
		err = errors.New("the memory is that of another mount")
	}
	if err != nil {
		m.Close()
		return dev, err
	}
	c.memory, c.init, c.lost, c.adopted = m, m.shared.init, m.lost(), true
	return dev, nil
}

// mountedDev is the st_dev of the file system that a descriptor of the device is for,
// or 0 where the kernel does not say so: before Linux 6.16, fuse_dev_show_fdinfo.
func mountedDev(fd int) uint64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	for line := range strings.Lines(string(text)) {
		var dev uint32 // MAJOR and MINOR of the kernel
		if n, _ := fmt.Sscanf(line, "fuse_connection: %d", &dev); n == 1 {
			return unix.Mkdev(dev>>20, dev&(1<<20-1))
		}
	}
	return 0
}

func duplicate(f *os.File) (int, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return fd, nil
}

// alive tells whether a connection has not ended.
func (c *Conn) alive() error {
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	if _, err := unix.Poll(poll, 0); err != nil {
		return fmt.Errorf("poll %s: %w", path, err)
	}
	if poll[0].Revents&unix.POLLERR != 0 {
		return ErrEnded
	}
	return nil
}

// Memory is what outlives the process, or nil.
func (c *Conn) Memory() *Memory { return c.memory }

// Files are what the next process needs: copies of the descriptors of the device and
// of the memory. The caller closes them.
func (c *Conn) Files() ([]*os.File, error) {
	if c.memory == nil {
		return nil, errors.New("the connection ends with this process")
	}
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	var files []*os.File
	for name, fd := range map[string]int{path: c.fd, "memory": c.memory.fd} {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, fmt.Errorf("duplicate the descriptor of %s: %w", name, err)
		}
		files = append(files, os.NewFile(uintptr(copied), name))
	}
	return files, nil
}

// leaveWait is how long Leave waits. Each answer takes milliseconds at most.
const leaveWait = 5 * time.Second

// Leave ends the answering, and leaves the connection as it is: all requests that were
// read are answered, and others wait in the kernel. Serve may go on. Only a connection
// with memory can be left. An error says that an answer takes long. Then the request is
// sent again to the next process.
func (c *Conn) Leave() error {
	l := c.serving.Load()
	if l == nil {
		return nil
	}
	l.leaving.Store(true)
	one := [8]byte{1}
	_, _ = unix.Write(c.memory.wake, one[:]) // fails only if it is awake already
	select {
	case <-l.over:
		c.serving.Store(nil)
		return nil
	case <-time.After(leaveWait):
		return fmt.Errorf("leave %s: requests are still at work after %v", path, leaveWait)
	}
}

// Release closes the descriptors of a connection that nobody serves here, and leaves it
// to whoever else has them. If an answer is still at work they stay open.
func (c *Conn) Release() {
	if c.serving.Load() == nil {
		c.Close()
		c.memory.Close()
	}
}

// notifyResend is FUSE_NOTIFY_RESEND.
const notifyResend = 7

// answerLost sees to the requests that a process before has taken.
func (c *Conn) answerLost() {
	if !c.adopted {
		return
	}
	c.adopted = false
	defer c.memory.nothingLost()
	if c.init.Flags64()&fuse.CAP_HAS_RESEND != 0 {
		m := fuse.OutHeader{Length: uint32(headerOut), Status: notifyResend}
		c.notify(unsafe.Slice((*byte)(unsafe.Pointer(&m)), headerOut))
		return
	}
	for _, unique := range c.lost {
		m := fuse.OutHeader{Length: uint32(headerOut), Status: -int32(unix.EIO), Unique: unique}
		c.notify(unsafe.Slice((*byte)(unsafe.Pointer(&m)), headerOut))
	}
}
