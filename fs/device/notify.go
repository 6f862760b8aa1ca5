package device

import (
	"math/rand/v2"
	"sync/atomic"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Notifications of include/uapi/linux/fuse.h.
const (
	notifyInvalInode = 2
	notifyStore      = 4
)

// invalInode is a FUSE_NOTIFY_INVAL_INODE.
type invalInode struct {
	fuse.OutHeader
	node           uint64
	offset, length int64
}

// store is a FUSE_NOTIFY_STORE of one byte; the kernel wants no padding after it.
type store struct {
	fuse.OutHeader
	node, offset uint64
	size         uint32
	_            uint32
	data         [1]byte
}

// storeSize is the length of a store without Go's padding at its end.
const storeSize = unsafe.Offsetof(store{}.data) + 1

// Distrust tells the kernel that what it knows of a node's attributes may be
// wrong (fuse_reverse_inval_inode without a range, which locks no page). A nil
// Conn has no kernel to tell. An error says that the kernel does not know the
// node, or that the mount has ended: then there is nothing to distrust.
func (c *Conn) Distrust(node uint64) {
	m := invalInode{node: node, offset: -1}
	m.Length, m.Status = uint32(unsafe.Sizeof(m)), notifyInvalInode
	c.notify(unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m)))
}

const (
	pageSize = 4096
	// farPages is how many pages RaiseSize goes on by at most. All sizes are used
	// up after some 2^39 calls, and it begins again.
	farPages = 1 << 12
	maxSize  = 1<<62 - 1
)

// RaiseSize makes the kernel believe that a file is larger than before, and
// distrust that size, until it is told a size again: a byte stored after the end
// moves the end (fuse_notify_store, fuse_write_update_attr). An error is as for
// Distrust, or the kernel is too old to know the message.
//
// The byte goes into a page beyond every size that the kernel ever believed in,
// which nobody can have read: see the package comment. It is also beyond length,
// which the file's text does not exceed.
func (c *Conn) RaiseSize(node uint64, length int64) {
	if c == nil {
		return
	}
	c.raising.Lock()
	defer c.raising.Unlock()
	c.Appended(uint64(length))
	offset := c.believed().Add(pageSize*(1+rand.Uint64N(farPages))) &^ (pageSize - 1)
	if offset > maxSize {
		offset = pageSize
		c.believed().Store(offset)
	}
	m := store{node: node, offset: offset, size: 1}
	m.Length, m.Status = uint32(storeSize), notifyStore
	c.notify(unsafe.Slice((*byte)(unsafe.Pointer(&m)), storeSize))
}

// Appended says that the kernel has moved a file's end to a position by itself.
// It does so for a write to a descriptor that appends, which goes to the end that
// the kernel believes in.
func (c *Conn) Appended(end uint64) {
	if c == nil {
		return
	}
	for {
		size := c.believed().Load()
		if end <= size || c.believed().CompareAndSwap(size, end) {
			return
		}
	}
}

// Size is a size that no file exceeds, as the kernel believes.
func (c *Conn) Size() uint64 {
	if c == nil {
		return 0
	}
	return c.believed().Load()
}

// believed is a size that no file exceeds, as the kernel believes.
func (c *Conn) believed() *atomic.Uint64 {
	if c.memory != nil {
		return &c.memory.shared.size
	}
	return &c.size
}

// notify sends a notification. Unsafe memory: b is a structure without
// pointers, which the kernel has copied when write returns.
func (c *Conn) notify(b []byte) {
	if c == nil {
		return
	}
	c.inUse.RLock()
	defer c.inUse.RUnlock()
	_, _ = unix.Write(c.fd, b)
}
