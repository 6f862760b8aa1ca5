package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

var (
	//go:embed peers/accept.c
	acceptSource []byte
	//go:embed peers/ctable.c
	ctableSource []byte
	//go:embed peers/nullfs.c
	nullfsSource []byte
)

// programs are the paths of what is measured, and a directory for the rest.
type programs struct {
	dir        string
	recentfs   string
	accept     string // C accept-all loop
	stockqueue string // go-nfqueue's accept-all loop
	nullfs     string // null file system
	ctable     string // the kernel's table in C
}

// build compiles recentfs and its peers into dir.
func build(ctx context.Context, dir string) (programs, error) {
	p := programs{dir: dir}
	for _, c := range []struct {
		path   *string
		name   string
		source []byte
		needs  string // Debian's package
		libs   []string
	}{
		{&p.accept, "accept", acceptSource, "libnetfilter-queue-dev", []string{"-lnetfilter_queue", "-lnfnetlink"}},
		{&p.nullfs, "nullfs", nullfsSource, "libfuse3-dev", []string{"-lfuse3"}},
		{&p.ctable, "ctable", ctableSource, "libc6-dev", nil},
	} {
		*c.path = filepath.Join(dir, c.name)
		source := *c.path + ".c"
		if err := os.WriteFile(source, c.source, 0o644); err != nil {
			return p, err
		}
		args := append([]string{"-O2", "-o", *c.path, source}, c.libs...)
		out, err := exec.CommandContext(ctx, "gcc", args...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return p, errors.New("gcc is missing: make deps installs it")
		}
		if err != nil {
			return p, fmt.Errorf("%s.c does not compile; it needs %s, which make deps installs:\n%s", c.name, c.needs, out)
		}
	}
	for _, g := range []struct {
		path *string
		pkg  string
	}{
		{&p.recentfs, "recentfs/cmd/recentfs"},
		{&p.stockqueue, "recentfs/tests/bench/stockqueue"},
	} {
		*g.path = filepath.Join(dir, filepath.Base(g.pkg))
		out, err := exec.CommandContext(ctx, "go", "build", "-o", *g.path, g.pkg).CombinedOutput()
		if err != nil {
			return p, fmt.Errorf("go build %s: %w\n%s", g.pkg, err, out)
		}
	}
	return p, nil
}
