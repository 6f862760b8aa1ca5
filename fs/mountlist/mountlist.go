// Package mountlist lists the mounts that the calling thread sees.
package mountlist

import (
	"bytes"
	"os"

	"github.com/moby/sys/mountinfo"
)

// longest is how much of a line the parser of mountinfo gets: its bufio.Scanner
// refuses 64 KB. Only the options of a file system, which come last, make a line that
// long: an overlay of hundreds of directories, put together by fsconfig(2).
const longest = 60 << 10

// Get is mountinfo.GetMounts, for lines of any length: a mount of somebody else must
// not end us. VFSOptions may be cut. It needs no answer from any file system.
func Get(filter mountinfo.FilterFunc) ([]*mountinfo.Info, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return mountinfo.GetMountsFromReader(bytes.NewReader(cut(text)), filter)
}

// cut cuts the lines that are too long.
func cut(text []byte) []byte {
	short := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if len(line) > longest {
			line = append(line[:longest:longest], '\n')
		}
		short = append(short, line...)
	}
	return short
}
