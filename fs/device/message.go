package device

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Unsafe memory in this file: a request is bytes that the kernel wrote, which
// are looked at as the structure that its opcode names once there are enough of
// them (request). All structures consist of numbers, and a message's memory is
// aligned for any of them. An answer is written the same way into memory that
// has room for the largest.

// The opcodes of include/uapi/linux/fuse.h that are told apart here.
const (
	opLookup      = 1
	opForget      = 2
	opGetAttr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opInit        = 26
	opReadDir     = 28
	opInterrupt   = 36
	opBatchForget = 42
)

const (
	headerIn  = int(unsafe.Sizeof(fuse.InHeader{}))
	headerOut = int(unsafe.Sizeof(fuse.OutHeader{}))
)

// goFuseNode is the node of a file that go-fuse answers for by itself, its
// ".go-fuse-epoll-hack".
const goFuseNode = ^uint64(0)

func header(in []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&in[0])) }

// request is a message as what its opcode says it is; ok is false where it is
// too short for that.
func request[T any](in []byte) (r *T, ok bool) {
	if uintptr(len(in)) < unsafe.Sizeof(*r) {
		return nil, false
	}
	return (*T)(unsafe.Pointer(&in[0])), true
}

// reply completes an answer of that size, or makes it an error, and returns
// its length.
func reply(in, out []byte, status fuse.Status, size uintptr) int {
	if !status.Ok() {
		size = 0
	}
	n := headerOut + int(size)
	*(*fuse.OutHeader)(unsafe.Pointer(&out[0])) = fuse.OutHeader{
		Length: uint32(n),
		Status: -int32(status),
		Unique: header(in).Unique,
	}
	return n
}
