package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// daemon is a running recentfs with a directory of its own.
type daemon struct {
	*process
	dir   string
	mount string
}

// daemon starts recentfs with rules on a thread. The options are the module's
// parameters, and the arguments what else is to follow 'run'.
func (b *bench) daemon(on *thread, rules, options string, args ...string) (*daemon, error) {
	dir, err := os.MkdirTemp(b.dir, "daemon-")
	if err != nil {
		return nil, err
	}
	d := &daemon{dir: dir, mount: filepath.Join(dir, "xt_recent")}
	file := filepath.Join(dir, "rules")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		return nil, err
	}
	args = append([]string{"run", "--rules", file, "--mountpoint", d.mount,
		"--control", filepath.Join(dir, "control.sock"), "-o", options}, args...)
	d.process, err = on.serve(command(b.ctx, b.recentfs, args...))
	if err != nil {
		return nil, errors.Join(err, detach(d.mount))
	}
	return d, nil
}

// table is the path of a table's file.
func (d *daemon) table(name string) string { return filepath.Join(d.mount, name) }

func (d *daemon) stop() error { return errors.Join(d.process.stop(), detach(d.mount)) }

// detach takes away what a process that could not clean up has left mounted.
func detach(mountpoint string) error {
	err := unix.Unmount(mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("umount %s: %w", mountpoint, err)
}

// chain is the two ssh rules for a queue: more than four packets a minute from
// one address go to the target.
func chain(queue int, match, table, target string) string {
	return fmt.Sprintf(`
-A QUEUE%[1]d %[2]s -m recent --update --seconds 60 --hitcount 4 --name %[3]s --rsource -j %[4]s
-A QUEUE%[1]d %[2]s -m recent --set --name %[3]s --rsource
`, queue, match, table, target)
}

// rules is a file of rules for some queues.
func rules(queues []int, chains ...string) string {
	var text strings.Builder
	text.WriteString("*recent\n")
	for _, q := range queues {
		fmt.Fprintf(&text, ":QUEUE%d ACCEPT [0:0]\n", q)
	}
	text.WriteString(strings.Join(chains, ""))
	text.WriteString("COMMIT\n")
	return text.String()
}
