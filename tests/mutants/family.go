package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watchMemory ends a run whose processes have too much memory.
func watchMemory(ctx context.Context, pid int, stop context.CancelCauseFunc) {
	for tick := time.Tick(200 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		bytes := 0
		for _, pages := range family(pid) {
			bytes += pages * os.Getpagesize()
		}
		if bytes > maxMemory {
			stop(fmt.Errorf("memory: %d MB", bytes>>20))
			return
		}
	}
}

// family are a process and all below it, each with its resident pages.
func family(root int) map[int]int {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	pages, children := map[int]int{}, map[int][]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it ended
		}
		// proc_pid_stat(5): pid (comm) state ppid ... rss is the 24th.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, _ := strconv.Atoi(fields[1])
		pages[pid], _ = strconv.Atoi(fields[21])
		children[parent] = append(children[parent], pid)
	}
	found := map[int]int{}
	for below := []int{root}; len(below) > 0; {
		pid := below[0]
		found[pid] = pages[pid]
		below = append(below[1:], children[pid]...)
	}
	return found
}

// fuseMounts are the FUSE connections of a process and all below it that this
// process does not see: those of mounts in the run's own namespace.
func fuseMounts(root int) []string {
	found := map[string]bool{}
	for pid := range family(root) {
		for _, c := range connections(strconv.Itoa(pid)) {
			found[c] = true
		}
	}
	for _, c := range connections("self") {
		delete(found, c)
	}
	return slices.Collect(maps.Keys(found))
}

// connections are the numbers of the FUSE connections that a process sees mounted.
func connections(pid string) (numbers []string) {
	text, _ := os.ReadFile("/proc/" + pid + "/mountinfo") // it may have ended
	for line := range strings.Lines(string(text)) {
		// proc_pid_mountinfo(5): id parent major:minor ... - type
		if _, after, _ := strings.Cut(line, " - "); strings.HasPrefix(after, "fuse") && !strings.HasPrefix(after, "fusectl") {
			_, minor, _ := strings.Cut(strings.Fields(line)[2], ":")
			numbers = append(numbers, minor)
		}
	}
	return numbers
}

// abort ends FUSE connections. A mutant that waits for an answer of its own cannot
// even be killed before that.
func abort(connections []string) {
	if len(connections) == 0 {
		return
	}
	dir, err := os.MkdirTemp("", "fusectl-")
	if err == nil {
		defer os.Remove(dir)
		err = unix.Mount("none", dir, "fusectl", 0, "")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "mutants: fusectl: %v: a process of a mutant may hang for ever\n", err)
		return
	}
	defer unix.Unmount(dir, 0)
	for _, c := range connections {
		_ = os.WriteFile(filepath.Join(dir, c, "abort"), []byte("1"), 0) // it may be gone by now
	}
}
