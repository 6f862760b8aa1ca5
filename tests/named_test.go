package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// attach gives a namespace a name until the end of the test or detach.
func (ns *netns) attach(t testing.TB, name string) {
	t.Helper()
	if err := ns.name(name); err != nil {
		t.Fatalf("naming a namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := detach(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
}

// name gives a namespace a name, as `ip netns attach` does.
func (ns *netns) name(name string) error {
	path := filepath.Join(netnsDir, name)
	err := os.MkdirAll(netnsDir, 0o755)
	if err == nil {
		err = os.WriteFile(path, nil, 0o444)
	}
	if err == nil {
		err = unix.Mount(ns.path, path, "", unix.MS_BIND, "")
	}
	return err
}

// detach takes a namespace's name away, as `ip netns delete` does.
func detach(name string) error {
	path := filepath.Join(netnsDir, name)
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // it is no mount any more
		return fmt.Errorf("umount %s: %w", path, err)
	}
	return os.Remove(path)
}

// newNamed makes a namespace with a name.
func newNamed(t testing.TB, name string) *netns {
	t.Helper()
	ns := newNetns(t)
	ns.attach(t, name)
	return ns
}
