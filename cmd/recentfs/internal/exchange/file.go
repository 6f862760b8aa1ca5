package exchange

import (
	"fmt"
	"os"
	"time"
)

// ReadFile reads a file, or standard input where its name is "-".
func (l *Load) ReadFile(name string, progress *Progress) error {
	file, moment := os.Stdin, time.Now()
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return fmt.Errorf("%w: nothing was imported", err)
		}
		defer file.Close()
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	// A file of procfs, or of a mount of ours, has no size, and is written as it is
	// read.
	if info.Mode().IsRegular() && info.Size() > 0 {
		moment = info.ModTime()
	}
	return l.Read(name, progress.Of("reading", file, info.Size()), moment)
}
