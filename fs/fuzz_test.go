package fs

import (
	"encoding/binary"
	"log"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"recentfs/fs/device"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// FuzzRequest gives the file system what no kernel sends. The first byte is the
// opcode, the second the node, and the others come after a header made of them.
func FuzzRequest(f *testing.F) {
	defer log.SetOutput(os.Stderr)
	const headerIn, headerOut = int(unsafe.Sizeof(fuse.InHeader{})), int(unsafe.Sizeof(fuse.OutHeader{}))
	f.Fuzz(func(t *testing.T, opcode, node byte, body []byte) {
		var logged strings.Builder // panics, and by go-fuse what is too short
		log.SetOutput(&logged)
		files, folder := newFilesystem(nil)
		reg := emptyModule(t).NewRegistry(folder.Update)
		table(t, reg, "foo")
		var out fuse.EntryOut
		files.Lookup(nil, &fuse.InHeader{NodeId: fuse.FUSE_ROOT_ID}, "foo", &out)
		server := fuse.NewProtocolServer(files, device.Options())

		in := make([]byte, headerIn, headerIn+len(body))
		in = append(in, body[:min(len(body), 1000)]...)
		*(*fuse.InHeader)(unsafe.Pointer(&in[0])) = fuse.InHeader{
			Length: uint32(len(in)), Opcode: uint32(opcode), Unique: 7, NodeId: uint64(node),
		}
		answer := make([]byte, device.MaxRead+4096)
		n, _ := server.HandleRequest([][]byte{in}, [][]byte{answer})
		if n != 0 && (n < headerOut || n > len(answer) || int(binary.NativeEndian.Uint32(answer)) != n) {
			t.Fatalf("answer of %d bytes: % x", n, answer[:headerOut])
		}
		if strings.Contains(logged.String(), "please report this") {
			t.Fatal(logged.String())
		}
	})
}

// thereSites are sites where everything is mounted.
type thereSites struct{ Sites }

func (thereSites) Find(dir string) (Site, error) { return Site{Dir: dir}, nil }
func (thereSites) There(*Site) (bool, error)     { return true, nil }

// FuzzKept changes bytes of what a process has left of a mount. The next process refuses
// it, or goes on, and answers whatever the kernel asks of the files that were open.
func FuzzKept(f *testing.F) {
	memory, err := unix.Mmap(-1, 0, keptSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		f.Fatal(err)
	}
	var k *kept
	// piece is the memory from one offset to another.
	piece := func(from uintptr, n uintptr) []byte { return memory[from : from+n] }
	f.Fuzz(func(t *testing.T, several bool, garbage []byte) {
		if err := unix.Madvise(memory, unix.MADV_DONTNEED); err != nil { // zeroes again
			t.Fatal(err)
		}
		k = keptIn(memory)
		kind := uint32(folderKind)
		if several {
			kind = namespacesKind
		}
		k.version, k.kind = keptVersion, kind
		put(k.dir[:], "/run/xt")
		begin := func() (*filesystem, *Folder) {
			if !several {
				return newFilesystem(k)
			}
			fs, ns := newNamespaces(func(uint32) string { return "" }, k)
			folder, err := ns.Add("red")
			if err != nil {
				t.Fatal(err)
			}
			return fs, folder
		}
		reg := emptyModule(t).NewRegistry(nil)
		tables := []*recent.Table{table(t, reg, "a"), table(t, reg, "b")}
		node := func(folder *Folder, i int) uint64 { return folder.fileID(tables[i%2]) }
		buf := make([]byte, 5000)
		ask := func(fs *filesystem, folder *Folder, fh, unique uint64) {
			for i := range tables {
				header := fuse.InHeader{NodeId: node(folder, i), Unique: unique}
				fs.Read(nil, &fuse.ReadIn{InHeader: header, Fh: fh, Offset: uint64(10 * i), ReadFlags: fuse.READ_LOCKOWNER}, buf[:10+1000*i])
				fs.Write(nil, &fuse.WriteIn{InHeader: header, Fh: fh, Flags: unix.O_APPEND * uint32(i)}, []byte("+192.0.2.1"))
				attrOf(t, fs, header.NodeId)
			}
		}
		first, folder := begin()
		first.settle()
		for i := range tables {
			folder.Update(recent.Event{Table: tables[i]})
		}
		for i := range tables {
			ask(first, folder, opened(t, first, node(folder, i), uint64(10+i), unix.O_RDWR), 20)
		}

		used := unsafe.Offsetof(k.dirs.entries)
		lab.Garble(garbage[:min(len(garbage), 300)],
			piece(0, unsafe.Offsetof(k.dir)+16),
			piece(unsafe.Offsetof(k.lastHandle), unsafe.Offsetof(k.dirs)-unsafe.Offsetof(k.lastHandle)),
			piece(unsafe.Offsetof(k.dirs), used+4*unsafe.Sizeof(keptDir{})),
			piece(unsafe.Offsetof(k.files), used+3*unsafe.Sizeof(keptFile{})),
			piece(unsafe.Offsetof(k.opens), used+3*unsafe.Sizeof(keptOpen{})))

		m := &Mountpoint{sites: thereSites{}, conn: device.New(-1, nil), kept: k}
		if m.adopt("/run/xt", kind, 1) != nil {
			return
		}
		if n := len(m.site.Created); n > 3 {
			t.Fatalf("%d directories above /run/xt were made", n)
		}
		second, folder := begin()
		for i := range tables {
			folder.Update(recent.Event{Table: tables[i]})
		}
		second.settle()
		for fh := range second.handles {
			ask(second, folder, fh, 1<<63|20)
			ask(second, folder, fh, 30)
			released(second, node(folder, 0), fh, unix.O_RDWR)
		}
		for i := range 4 {
			ask(second, folder, opened(t, second, node(folder, i), uint64(40+i), unix.O_RDWR), 50)
		}
		if mode := attrOf(t, second, node(folder, 0)).Mode; mode&unix.S_IFMT != unix.S_IFREG {
			t.Fatalf("a table has mode %o", mode)
		}
		if mode := attrOf(t, second, fuse.FUSE_ROOT_ID).Mode; mode&unix.S_IFMT != unix.S_IFDIR {
			t.Fatalf("the root has mode %o", mode)
		}
	})
}
