package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

// sample is a package of one file.
func sample(t *testing.T, source string) *codePackage {
	t.Helper()
	c := &codePackage{
		name: "sample", path: "recentfs/sample", fset: token.NewFileSet(),
		files: map[string]*ast.File{}, sources: map[string][]byte{},
		info: &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}},
	}
	file := filepath.Join(t.TempDir(), "a.go")
	if err := os.WriteFile(file, []byte("package sample\n\n"+source), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.parse(file); err != nil {
		t.Fatal(err)
	}
	if err := c.check(c.files, c.info); err != nil {
		t.Fatal(err)
	}
	c.candidates = c.mutations()
	return c
}

func TestMutations(t *testing.T) {
	for _, c := range []struct {
		name, source string
		want         []string // those that compile
	}{
		{"comparison", "func f(a, b int) bool { return a < b }", []string{
			"f: return a < b -> return a <= b", "f: return a < b -> return a >= b",
		}},
		{"condition", "func f(a bool) (n int) {\n\tif a {\n\t\tn++\n\t}\n\treturn n\n}", []string{
			"f: if a -> if !(a)", "f: if a -> if (a) || true", "f: if a -> if (a) && false",
			"f: n++ -> n--", "f: if a { n++} -> if a { }",
		}},
		{"error", "type T struct{}\n\nfunc (*T) f(err error) error { return err }", []string{"T.f: return err -> return nil"}},
		{"constant", "const a = 0x0f", []string{"const: a = 0x0f -> a = 0x10"}},
		{"truth", "var a = true", []string{"var: a = true -> a = false"}},
		{"text", `func f(a string) string { return a + "1" }`, nil}, // - does not compile
		{"the same twice", "func f() { g(); g() }\n\nfunc g() {}", []string{"f: g() -> removed", "f: g() -> removed (2)"}},
		{"bits", "func f(a, b uint) uint { a |= b; return a &^ b }", []string{
			"f: a |= b -> removed", "f: a |= b -> a &= b", "f: return a &^ b -> return a & b",
		}},
		{"clause", "func f(a int) (n int) {\n\tswitch a {\n\tcase 1:\n\t\treturn 2\n\t}\n\treturn n\n}", []string{
			"f: case 1: return 2 -> removed", "f: case 1: -> case 2:", "f: case 1: { return 2} -> case 1: { }", "f: return 2 -> return 3",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := sample(t, c.source)
			var got []string
			for _, m := range p.candidates {
				if p.compiles(m) {
					got = append(got, strings.TrimPrefix(m.String(), "sample/a.go "))
				}
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(c.want))
			if !slices.Equal(got, want) {
				t.Errorf("mutations:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestDrawAgain: what else is in the package changes nothing in what is drawn.
func TestDrawAgain(t *testing.T) {
	const source = "func f(a, b int) bool { return a < b }\n"
	draws := func(p *codePackage, n int) []*mutant {
		drawn, err := draw([]*codePackage{p}, 1, n)
		if err != nil {
			t.Fatal(err)
		}
		return drawn
	}
	first := draws(sample(t, source), 1)[0].String()
	all := draws(sample(t, source+"func g() int { return 1 }\n"), 3)
	if !slices.ContainsFunc(all, func(m *mutant) bool { return m.String() == first }) {
		t.Errorf("%q is gone: %v", first, all)
	}
	if _, err := draw([]*codePackage{sample(t, source)}, 1, 100); err == nil {
		t.Error("100 mutants of two")
	}
}

func TestEquivalents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	text := "# a comment\n\nsample/a.go f: return a < b -> return a <= b # why\nsample/a.go f: gone -> removed # why\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := readEquivalents(file)
	if err != nil {
		t.Fatal(err)
	}
	p := sample(t, "func f(a, b int) bool { return a < b }")
	for _, m := range p.candidates {
		if want := strings.HasSuffix(m.String(), "a <= b"); e.covers(m) != want {
			t.Errorf("%s: equivalent %t, want %t", m, !want, want)
		}
	}
	if stale := e.stale([]*codePackage{p}); !slices.Equal(stale, []string{"sample/a.go f: gone -> removed"}) {
		t.Errorf("stale %q", stale)
	}
	if err := os.WriteFile(file, []byte("sample/a.go f: gone -> removed\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readEquivalents(file); err == nil || !strings.Contains(err.Error(), "does not say why") {
		t.Errorf("a line without a reason: %v", err)
	}
}

func TestFamily(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 1000 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	lab.Eventually(t, "a shell and its child", func() error {
		if found := family(cmd.Process.Pid); len(found) != 2 || found[cmd.Process.Pid] == 0 {
			return fmt.Errorf("found %v, by the resident pages", found)
		}
		return nil
	})
	for pid := range family(cmd.Process.Pid) {
		unix.Kill(pid, unix.SIGKILL)
	}
	cmd.Wait()
}

// TestFrame runs programs as mutants are run.
func TestFrame(t *testing.T) {
	lab.NeedRoot(t)
	for _, c := range []struct {
		name, script string
		passed       bool
		why          string
	}{
		{"passes", "exit 0", true, ""},
		{"fails", "echo '--- FAIL: TestX (0.00s)'; exit 1", false, "TestX"},
		{"hangs", "setsid sleep 1000 & sleep 1000", false, "timeout"},
		{"has namespaces of its own", "mount -t tmpfs none /mnt && [ $(ls -d /proc/[0-9]* | wc -l) -lt 9 ]", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "test")
			if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+c.script), 0o755); err != nil {
				t.Fatal(err)
			}
			got, err := runFramed(context.Background(), ".", nil, 100*time.Millisecond, binary)
			if err != nil || got.passed != c.passed || got.why != c.why {
				t.Errorf("%+v, %v, want %t %q", got, err, c.passed, c.why)
			}
		})
	}
}
