// Bench measures recentfs beside what a user would otherwise pick, in one run
// on one machine: a packet's way, a write's, a read's, the table by itself,
// the start and an idle namespace. It prints a table, and then the goals met
// and missed.
//
// Ours and the peer take turns, round by round, and what counts is the median
// of the rounds' ratios: a single time says little on a machine that others
// use too. Namespaces, mounts and processes are its own, and it takes them
// down also when it fails or is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// ways are what can be measured, in the order of the report.
var ways = []struct {
	name    string
	measure func(*bench) error
}{
	{"packets", packets},
	{"balance", balance},
	{"delay", delay},
	{"table", tables},
	{"flat", flat},
	{"memory", memory},
	{"read", reads},
	{"write", writes},
	{"start", starts},
	{"state", state},
	{"namespaces", idle},
}

// helpers are what the program does in processes of its own.
var helpers = map[string]func(args []string) error{
	"flood":  floodLoop,
	"table":  tableLoop,
	"decide": decideLoop,
	"memory": holdTable,
	"serve":  serveTables,
	"write":  writeLoop,
}

func main() {
	if len(os.Args) > 1 && helpers[os.Args[1]] != nil && os.Getenv(helperEnv) != "" {
		exit(helpers[os.Args[1]](os.Args[2:]))
	}
	rounds := flag.Int("rounds", 5, "how often ours and the peer take turns")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: bench [-rounds N] [WAY...]\nways: %s; all of them where none is named\n", wayNames())
		flag.PrintDefaults()
	}
	flag.Parse()
	exit(run(*rounds, flag.Args()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func wayNames() string {
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	return strings.Join(names, ", ")
}

// bench is one run.
type bench struct {
	ctx    context.Context
	rounds int
	programs
	report report

	// Three threads that start processes: in the client's namespace on the
	// first processor, in the server's on all others, and in the server's on
	// any. On a machine with one processor they share it.
	client, server, free *thread
}

func run(rounds int, only []string) (err error) {
	if rounds < 1 {
		return errors.New("-rounds: 1 or more is needed")
	}
	for _, name := range only {
		if !slices.Contains(strings.Split(wayNames(), ", "), name) {
			return fmt.Errorf("way %q: there are %s", name, wayNames())
		}
	}
	if os.Geteuid() != 0 {
		return errors.New("root is needed, for queues, mounts and namespaces")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, rounds: rounds}
	dir, err := os.MkdirTemp("", "recentfs-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	progress("building")
	if b.programs, err = build(ctx, dir); err != nil {
		return err
	}
	if err := b.network(); err != nil {
		return err
	}
	defer b.closeNetwork()
	for _, w := range ways {
		if len(only) > 0 && !slices.Contains(only, w.name) {
			continue
		}
		progress(w.name)
		err := w.measure(b)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	b.report.print(os.Stdout, rounds)
	return nil
}

// progress tells whoever waits what is going on.
func progress(what string) { fmt.Fprintf(os.Stderr, "bench: %s\n", what) }

// each calls do once a round.
func (b *bench) each(do func(round int) error) error {
	for i := range b.rounds {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}
