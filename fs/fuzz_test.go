package fs

import (
	"encoding/binary"
	"log"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"recentfs/fs/device"
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
