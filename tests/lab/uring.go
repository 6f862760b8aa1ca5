package lab

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ring is an io_uring.
//
// Unsafe memory in this file: the three areas of a ring are shared with the kernel,
// which says where in them the words are. Requests hold addresses of buffers, which
// stay alive and in place until their events have come.
type Ring struct {
	fd                  int
	flags               uint32
	params              uringParams
	submissions, events []byte
	requests            []byte
}

// uringParams is struct io_uring_params.
type uringParams struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wqFD uint32
	_                                                      [3]uint32
	sq                                                     struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// uringRequest is struct io_uring_sqe.
type uringRequest struct {
	opcode, flags uint8
	_             uint16
	fd            int32
	off, addr     uint64
	length        uint32
	opFlags       uint32
	index         uint64
	_             [3]uint64
}

// uringEvent is struct io_uring_cqe.
type uringEvent struct {
	index  uint64
	result int32
	_      uint32
}

const (
	uringEntries = 32

	// PolledRing is IORING_SETUP_SQPOLL: a thread of the kernel takes the requests.
	PolledRing = 1 << 1
	// AtPosition is the offset of a read at the file's position.
	AtPosition = -1

	opOpenAt, opRead = 18, 22 // IORING_OP_OPENAT, IORING_OP_READ
)

// NewRing makes a ring with the flags of io_uring_setup(2).
func NewRing(flags uint32) (*Ring, error) {
	r := &Ring{flags: flags}
	r.params.flags = flags
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uringEntries, uintptr(unsafe.Pointer(&r.params)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r.fd = int(fd)
	for _, area := range []struct {
		to     *[]byte
		offset int64
	}{{&r.submissions, 0}, {&r.events, 0x8000000}, {&r.requests, 0x10000000}} {
		memory, err := unix.Mmap(r.fd, area.offset, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("mmap of an io_uring: %w", err)
		}
		*area.to = memory
	}
	return r, nil
}

// Close ends the ring. Nothing may be under way.
func (r *Ring) Close() {
	for _, memory := range [][]byte{r.submissions, r.events, r.requests} {
		if memory != nil {
			unix.Munmap(memory)
		}
	}
	unix.Close(r.fd)
}

// Read reads a file at an offset, or AtPosition.
func (r *Ring) Read(file int, buf []byte, off int64) (int, error) {
	results, err := r.ReadAll(file, 0, RingRead{buf, off})
	if err != nil {
		return 0, err
	}
	return results[0].N, results[0].Err
}

// RingRead is a read of a ring.
type RingRead struct {
	Buf []byte
	Off int64
}

// RingResult is how a request of a ring ended.
type RingResult struct {
	N   int
	Err error
}

// AsyncRead is IOSQE_ASYNC: a worker of the kernel reads.
const AsyncRead = 1 << 4

// ReadAll has all reads of a file under way at once. The flags are those of each
// request.
func (r *Ring) ReadAll(file int, flags uint8, reads ...RingRead) ([]RingResult, error) {
	// A buffer on the stack would move with it, and the kernel would write over
	// something else.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	requests := make([]uringRequest, len(reads))
	for i, read := range reads {
		pinner.Pin(unsafe.SliceData(read.Buf))
		requests[i] = uringRequest{
			opcode: opRead, flags: flags, fd: int32(file), off: uint64(read.Off),
			addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(read.Buf)))), length: uint32(len(read.Buf)),
		}
	}
	return r.do(requests)
}

// Open opens a file for reading, by the ring.
func (r *Ring) Open(path string) (int, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(name)
	results, err := r.do([]uringRequest{{
		opcode: opOpenAt, fd: unix.AT_FDCWD, addr: uint64(uintptr(unsafe.Pointer(name))), opFlags: unix.O_CLOEXEC,
	}})
	if err != nil {
		return -1, err
	}
	return results[0].N, results[0].Err
}

func word(memory []byte, offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&memory[offset])) }

// do submits requests, waits for all, and returns their results in order.
func (r *Ring) do(requests []uringRequest) ([]RingResult, error) {
	sq, cq := &r.params.sq, &r.params.cq
	mask, tail := *word(r.submissions, sq.mask), word(r.submissions, sq.tail)
	places := unsafe.Slice((*uringRequest)(unsafe.Pointer(&r.requests[0])), uringEntries)
	for i, request := range requests {
		request.index = uint64(i)
		at := (*tail + uint32(i)) & mask
		places[at] = request
		*word(r.submissions, sq.array+4*at) = at
	}
	atomic.AddUint32(tail, uint32(len(requests)))
	enter := uintptr(1) // IORING_ENTER_GETEVENTS
	if r.flags&PolledRing != 0 {
		enter |= 2 // IORING_ENTER_SQ_WAKEUP
	}
	results := make([]RingResult, len(requests))
	head := word(r.events, cq.head)
	for submit, done := len(requests), 0; done < len(requests); submit = 0 {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), 1, enter, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return nil, fmt.Errorf("io_uring_enter: %w", errno)
		}
		for ; *head != atomic.LoadUint32(word(r.events, cq.tail)); atomic.AddUint32(head, 1) {
			at := *head & *word(r.events, cq.mask)
			e := (*uringEvent)(unsafe.Pointer(&r.events[cq.cqes+at*uint32(unsafe.Sizeof(uringEvent{}))]))
			result := RingResult{N: int(max(e.result, 0))}
			if e.result < 0 {
				result.Err = unix.Errno(-e.result)
			}
			results[e.index] = result
			done++
		}
	}
	return results, nil
}
