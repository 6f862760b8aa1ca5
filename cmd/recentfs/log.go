package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/match/ruleset"
)

// logWriter writes log lines from a goroutine of its own, so that whoever logs
// never waits for who reads. Lines that find logLines waiting are dropped, and
// counted.
type logWriter struct {
	lines   chan []byte
	dropped atomic.Uint64
	done    chan struct{} // closed when all lines are written
}

const (
	logLines = 1024
	// lastWords is how long the end of the program waits for the log.
	lastWords = time.Second
)

func newLogWriter(to io.Writer) *logWriter {
	w := &logWriter{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := range w.lines {
			if n := w.dropped.Swap(0); n > 0 {
				fmt.Fprintf(to, "%d lines were not logged: nobody read fast enough\n", n)
			}
			// With nobody to read there is nobody to tell.
			_, _ = to.Write(line)
		}
	}()
	return w
}

// Write implements io.Writer for logrus, which calls it for one line at a time
// and uses the line's memory again.
func (w *logWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// close writes what is waiting. Nothing may be logged after it.
func (w *logWriter) close() {
	logrus.SetOutput(os.Stderr)
	close(w.lines)
	select {
	case <-w.done:
	case <-time.After(lastWords):
	}
}

// packetLogger writes the lines of a set of rules' LOG targets.
type packetLogger struct {
	rules *ruleset.Set
	netns string // the network namespace's name, where there are several
	quit  chan struct{}
	done  chan struct{}
}

func logPackets(rules *ruleset.Set, netns string) *packetLogger {
	l := &packetLogger{rules: rules, netns: netns, quit: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

func (l *packetLogger) run() {
	defer close(l.done)
	for {
		select {
		case r := <-l.rules.Logs():
			l.log(r)
		case <-l.quit:
			for {
				select {
				case r := <-l.rules.Logs():
					l.log(r)
				default:
					return
				}
			}
		}
	}
}

// stop ends the logger, once what was logged by then is written.
func (l *packetLogger) stop() {
	close(l.quit)
	<-l.done
}

// log writes a record at its rule's level, of which syslog has eight.
func (l *packetLogger) log(r ruleset.LogRecord) {
	level := logrus.DebugLevel
	switch {
	case r.Level <= 3: // emergency to error
		level = logrus.ErrorLevel
	case r.Level == 4: // warning, the LOG target's default
		level = logrus.WarnLevel
	case r.Level <= 6: // notice, info
		level = logrus.InfoLevel
	}
	entry := logrus.NewEntry(logrus.StandardLogger())
	if l.netns != "" {
		entry = entry.WithField("netns", l.netns)
	}
	entry.Log(level, r.String())
}

// watchEvery is how often a running recentfs looks for trouble in its
// counters: the packet path counts, and this says it, once each time.
const watchEvery = 10 * time.Second

// watch logs what the counters say, and keeps /proc/net up to date where that
// is covered.
type watch struct {
	s    *server
	quit chan struct{}
	done chan struct{}
}

// troubles are counters that should stand still.
type troubles struct {
	lost        uint64 // packets that found the queue or its socket full
	malformed   uint64
	undecodable uint64
	unsent      uint64
	unrepeated  uint64
	unlogged    uint64
}

func newWatch(s *server) *watch {
	w := &watch{s: s, quit: make(chan struct{}), done: make(chan struct{})}
	go w.run()
	return w
}

func (w *watch) stop() {
	close(w.quit)
	<-w.done
}

func (w *watch) run() {
	defer close(w.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case <-w.quit:
			return
		}
	}
}

// look says which counters have grown since it last looked.
func (w *watch) look() {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.cover != nil && !w.s.stopped {
		if err := w.s.cover.Refresh(); err != nil {
			logrus.Warnf("/proc/net: %v", err)
		}
	}
	if w.s.selection != nil {
		w.s.update(true) // in case it could not be seen what changed when it did
	}
	for _, i := range w.s.instances {
		i.look()
	}
}

// look is watch.look for one instance. server.mu is held.
func (i *instance) look() {
	now := i.troubles()
	for _, c := range []struct {
		now, before uint64
		what        string
	}{
		{now.lost, i.seen.lost, "packets were dropped before any rule saw them: the queue was full; let fewer packets into it"},
		{now.malformed, i.seen.malformed, "messages of the kernel were not understood"},
		{now.undecodable, i.seen.undecodable, "packets had no header that could be decoded and got the chain's policy"},
		{now.unsent, i.seen.unsent, "verdicts could not be sent"},
		{now.unrepeated, i.seen.unrepeated, "packets met REPEAT with the mark that they came with, which would loop, and got the chain's policy: exclude the mark on the kernel's rule that queues"},
		{now.unlogged, i.seen.unlogged, "packets of LOG rules were not logged: too many in too short a time"},
	} {
		// Counters of queues and rules that are gone are gone with them.
		if c.now > c.before {
			logrus.Warn(i.explain(fmt.Errorf("%d %s", c.now-c.before, c.what)))
		}
	}
	i.seen = now
}

// troubles adds up the counters of all queues. server.mu is held.
func (i *instance) troubles() (t troubles) {
	for _, q := range i.queues {
		stats := q.Stats()
		t.lost += uint64(stats.Full) + uint64(stats.Lost)
		t.malformed += stats.Malformed
		t.undecodable += stats.Undecodable
		t.unsent += stats.Unsent
	}
	if i.set != nil {
		t.unrepeated = i.set.Unrepeated()
		t.unlogged = i.set.LogsDropped()
	}
	return t
}
