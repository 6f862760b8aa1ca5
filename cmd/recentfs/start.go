package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/cmd/recentfs/internal/service"
)

// runDaemon runs from the start to the signal that ends it.
func runDaemon(c daemon.Config) error {
	// The reader of our output may go away. That must not end us, and leave a
	// mount behind.
	signal.Ignore(syscall.SIGPIPE)
	log := daemon.NewLogWriter(os.Stderr)
	logrus.SetOutput(log)
	defer func() {
		logrus.SetOutput(os.Stderr)
		log.Close()
	}()
	hangups, leaves := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	signal.Notify(leaves, handover.Leave)

	if err := service.Filter(c.Helper != ""); err != nil {
		logrus.Debug(err) // a kernel without seccomp
	}
	s, err := daemon.New(c)
	if err != nil {
		return err
	}
	// Until now there is nothing to take down, and a signal simply ends us.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := s.Start(ctx); err != nil {
		return err
	}
	stopWatching := func() {}
	if ctx.Err() == nil {
		log.Flush() // what runs is said before "ready"
		fmt.Println("ready")
		service.Notify(service.Ready)
		stopWatching = service.Watch(s.AtWork)
	}
	s.Wait(ctx, hangups, leaves)
	stopWatching()
	service.Notify(service.Stopping)
	return s.Stop()
}

// keepRunning runs the same command line without --keep, and holds what it needs.
func keepRunning() error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	without := func(args []string, flag string) []string {
		return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == flag || arg == flag+"=true" })
	}
	first := without(os.Args, "--keep")
	code, err := handover.Keep(program, first, without(first, "--takeover"), daemon.Abandon, daemon.Abort)
	if err == nil && code != 0 {
		err = keptError(code)
	}
	return err
}

// keptError is the exit status of the process that was kept running, which has said
// why it ended.
type keptError int

func (e keptError) Error() string { return fmt.Sprintf("recentfs ended with status %d", int(e)) }
