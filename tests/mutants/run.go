package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// result is what became of a mutant.
type result struct {
	*mutant
	fate string // killed, survived or equivalent
	by   string // the tests that killed it, or why none did
	took time.Duration
}

// runAll runs mutants, some at once, and prints each as it is done.
func runAll(ctx context.Context, o options, mutants []*mutant) (results []result, err error) {
	work, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	var mu sync.Mutex // guards results and the output
	begin := time.Now()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.SetLimit(o.jobs)
	for _, m := range mutants {
		tasks.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r, err := try(ctx, m, work, o.endToEnd)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			results = append(results, r)
			fmt.Printf("%4d/%d %s %-10s %s (%s, %v)\n", m.number, o.n, time.Since(begin).Round(time.Second), r.fate, m, r.by, r.took.Round(100*time.Millisecond))
			return o.append(r)
		})
	}
	return results, tasks.Wait()
}

// append writes a line into the file of results: the fate, the mutant, the tests.
func (o options) append(r result) error {
	if o.output == "" {
		return nil
	}
	f, err := os.OpenFile(o.output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s\t%s\t%s\n", r.fate, r, r.by)
	return err
}

// passed are the mutants that earlier results have as killed.
func (o options) passed() (map[string]bool, error) {
	killed := map[string]bool{}
	if o.again == "" {
		return killed, nil
	}
	text, err := os.ReadFile(o.again)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, "\t"); len(fields) == 3 && fields[0] == "killed" {
			killed[fields[1]] = true
		}
	}
	return killed, err
}

// try runs the tests on one mutant until some fail.
func try(ctx context.Context, m *mutant, work string, all bool) (result, error) {
	begin := time.Now()
	r := result{mutant: m, fate: "survived", by: "all tests pass"}
	if m.equivalent {
		r.fate, r.by = "equivalent", "argued"
		return r, nil
	}
	dir, err := os.MkdirTemp(work, "")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(dir)
	if err != nil {
		return r, err
	}
	for _, s := range suitesFor(m.pkg.name, all) {
		if err := s.baseline(ctx, work); err != nil {
			return r, err
		}
		if s.dir == m.pkg.name && s.misses(m) {
			r.by = "not reached by its package's tests"
			continue
		}
		binary := filepath.Join(dir, "tests")
		if err := s.compile(ctx, binary, "-overlay="+overlay); err != nil {
			return r, err
		}
		// The tests build the program themselves.
		env := []string{"GOFLAGS=" + os.Getenv("GOFLAGS") + " -overlay=" + overlay}
		e, err := s.notice(ctx, env, binary)
		if err != nil {
			return r, err
		}
		if !e.passed {
			r.fate, r.by = "killed", s.dir+" "+e.why
			break
		}
	}
	r.took = time.Since(begin)
	return r, nil
}

// overlay writes the mutant's file, and the list that has the go command read it.
func (m *mutant) overlay(dir string) (string, error) {
	file, list := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, m.text(), 0o644); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {m.file: file}})
	if err != nil {
		return "", err
	}
	return list, os.WriteFile(list, text, 0o644)
}
