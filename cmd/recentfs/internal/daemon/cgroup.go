package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sirupsen/logrus"
)

// memoryNews warns where this process's control group allows less memory than the
// tables may come to need.
func (s *Server) memoryNews() news {
	used, _ := s.answers.module.Memory()
	text := memoryWarning(used, "/proc/self/cgroup", "/sys/fs/cgroup")
	if text == "" {
		return nil
	}
	return news{{logrus.WarnLevel, text}}
}

// memoryWarning is that warning, or nothing. own says which control group it is, as
// /proc/PID/cgroup does, and root is where that of all processes is.
func memoryWarning(used uint64, own, root string) string {
	text, err := os.ReadFile(own)
	if err != nil {
		return "" // without procfs nothing is known
	}
	for line := range strings.Lines(string(text)) {
		group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/")
		if !ok {
			continue // of cgroup v1
		}
		for dir := filepath.Join(root, group); len(dir) >= len(root); dir = filepath.Dir(dir) {
			file := filepath.Join(dir, "memory.max")
			if most, ok := readMemoryMax(file); ok && most < used {
				return fmt.Sprintf("the tables may take %v, but %s allows %v: recentfs could be killed while they fill; raise that (MemoryMax= of systemd), or lower ip_list_tot (--max-memory refuses larger tables)",
					wholeKilobytes(used), file, wholeKilobytes(most))
			}
		}
	}
	return ""
}

// readMemoryMax is the limit of a control group, if it has one.
func readMemoryMax(file string) (uint64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false // the root has none
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return most, err == nil // it may be "max"
}

func wholeKilobytes(bytes uint64) Size { return Size((bytes + 1023) >> 10 << 10) }
