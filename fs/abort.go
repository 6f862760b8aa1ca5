package fs

import (
	"os"

	"recentfs/fs/device"
)

// AbortLeft is Abort for the mount whose Files those are, which are closed. Its process
// may still serve it, or wait for its own answer.
func AbortLeft(files []*os.File) error { return OwnSites{}.Abandon(mountOf(files)) }

// mountOf is the st_dev and the directory of a mount whose Files those are, as far as
// they tell. They are closed.
func mountOf(files []*os.File) (dev uint64, dir string) {
	conn, dev, err := device.Adopt(files, keptSize)
	if err != nil {
		return dev, ""
	}
	memory := conn.Memory()
	dir = text(keptIn(memory.Area()).dir[:])
	conn.Close()
	memory.Close()
	return dev, dir
}
