package handover

import (
	"fmt"
	"os"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
)

// What sd_watchdog_enabled(3) and sd_notify(3) say.
const (
	watchdogTime = "WATCHDOG_USEC" // the interval, in the environment
	watchdogSays = "WATCHDOG"      // a message: it works, or it hangs
)

const (
	// startTime is how long a worker may take to be ready. Packets wait meanwhile.
	startTime = 30 * time.Second
	// workTime is in which time a worker says that it works, unless the environment has
	// another. It is that of the systemd service.
	workTime = 10 * time.Second
	// abortTime is how long a worker may take to end by SIGABRT, which it has end it and
	// show where everything is, and killTime by SIGKILL.
	abortTime, killTime = time.Second, 2 * time.Second
)

// stopTime is how long a worker may take to end when it is told to: it saves the tables.
// systemd takes the same time.
var stopTime = 90 * time.Second

// setInterval finds out in which time a worker is to say that it works.
func (k *keeper) setInterval() {
	given := os.Getenv(watchdogTime)
	interval, err := systemd.SdWatchdogEnabled(true) // the worker has another
	if err != nil {
		logrus.Warnf("--keep: %s=%s: %v: it is %v", watchdogTime, given, err, workTime)
	}
	k.asked = interval > 0 && k.outer != nil
	if k.interval = interval; interval == 0 {
		k.interval = workTime
	}
}

// The ways to end a worker, one after the other.
type way int

const (
	byAbort way = iota
	byKill
	byItsMounts
)

// watch passes signals on to the worker until it has ended, and ends one that does not
// get ready, that hangs, or that does not end when it is told to. It returns how the
// worker ended, and the signal that told it to, or nil. A worker that is not ready yet
// would die of a signal, and one that is to end gets no other: they wait for it, or for
// the next worker.
func (k *keeper) watch(w *worker, signals <-chan os.Signal) (status syscall.WaitStatus, told os.Signal) {
	due, by := time.After(startTime), byKill
	why := fmt.Sprintf("is not ready after %v", startTime)
	goesOn := false // it is ready, and nobody wants it to end
	getsReady := w.ready
	var tell <-chan time.Time
	if k.asked {
		ticker := time.NewTicker(k.interval / 2)
		defer ticker.Stop()
		tell = ticker.C
	}
	for {
		for goesOn && len(k.pending) > 0 {
			s := k.pending[0]
			k.pending = k.pending[1:]
			if s != syscall.SIGHUP {
				told, goesOn = s, false
				due, by, why = time.After(stopTime), byKill, fmt.Sprintf("has not ended %v after %v", stopTime, s)
			}
			k.signal(w, s.(syscall.Signal))
		}
		select {
		case status := <-w.ended:
			return status, told
		case s := <-signals:
			k.pending = append(k.pending, s)
		case <-getsReady:
			getsReady, goesOn = nil, true
			due, by, why = time.After(k.interval), byAbort, fmt.Sprintf("hangs: it has said nothing for %v", k.interval)
		case <-w.works:
			if goesOn {
				due = time.After(k.interval)
			}
		case status := <-w.hangs:
			if goesOn {
				due, why = time.After(0), "hangs: "+status
			}
		case <-due:
			goesOn = false
			due, by = k.end(w, by, why)
		case <-tell:
			_ = k.outer.send(systemd.SdNotifyWatchdog) // whoever started us need not listen
		}
	}
}

// end ends a worker in one way, and returns which is the next, and when it is due.
func (k *keeper) end(w *worker, by way, why string) (due <-chan time.Time, next way) {
	switch by {
	case byAbort:
		logrus.Errorf("--keep: recentfs %s, and is ended", why)
		k.signal(w, syscall.SIGABRT)
		k.signal(w, syscall.SIGCONT) // somebody may have stopped it
		return time.After(abortTime), byKill
	case byKill:
		logrus.Errorf("--keep: recentfs %s, and is killed", why)
		k.signal(w, syscall.SIGKILL)
		return time.After(killTime), byItsMounts
	}
	// A thread of it waits in the kernel for an answer that only the process could give.
	logrus.Error("--keep: recentfs cannot be killed: its mounts are ended, and the files that are open on them")
	k.mu.Lock()
	defer k.mu.Unlock()
	k.abort(k.store)
	return nil, by
}
