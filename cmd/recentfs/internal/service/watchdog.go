package service

import (
	"fmt"
	"iter"
	"runtime/debug"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
)

const (
	// looksPerInterval is how often a watchdog looks within the service manager's
	// interval.
	looksPerInterval = 4
	// hungLooks is in how many looks, one after the other, the same work is at work if it
	// hangs. So one that begins to hang is ended within the interval.
	hungLooks = looksPerInterval
)

// watchdog tells the service manager that the process works, or that something hangs.
type watchdog struct {
	// atWork yields what is at work now, and a number that stays as long as the same
	// is at work. It waits for nothing.
	atWork iter.Seq2[string, uint64]
	every  time.Duration // from look to look
	after  func(time.Duration) <-chan time.Time
	now    func() time.Time
	notify func(state string)

	last  time.Time    // when it looked last
	looks map[work]int // in how many looks the work was found, up to the last one
	hangs string       // what is said to hang, or nothing
}

type work struct {
	what   string
	number uint64
}

// Watch tells the service manager that the process works, as often as it asks for
// (sd_watchdog_enabled(3)), until stop. It ceases to when something hangs, and the
// service manager then ends the process. atWork yields what is at work, and a number
// that stays as long as the same is at work.
//
// It waits for nothing that could hang, but the service manager. Nor does stop.
func Watch(atWork iter.Seq2[string, uint64]) (stop func()) {
	every := lookEvery()
	if every == 0 {
		return func() {}
	}
	// The signal that ends a process that hangs (SIGABRT) shows where everything is.
	debug.SetTraceback("all")
	stopped := make(chan struct{})
	w := &watchdog{atWork: atWork, every: every, after: time.After, now: time.Now, notify: Notify}
	go w.run(stopped)
	return func() { close(stopped) }
}

// lookEvery is how often to look, or 0 if nobody wants to know.
func lookEvery() time.Duration {
	interval, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		logrus.Warnf("nobody learns of it if recentfs hangs: WATCHDOG_USEC: %v", err)
		return 0
	}
	return interval / looksPerInterval
}

func (w *watchdog) run(stopped <-chan struct{}) {
	for {
		w.look()
		select {
		case <-w.after(w.every):
		case <-stopped:
			return
		}
	}
}

// look looks at what is at work, and tells the service manager.
func (w *watchdog) look() {
	// It is late where many others want the processor. Then whoever is at work may not
	// have had it, and hangs no more than we do.
	now := w.now()
	if now.Sub(w.last) > w.every+w.every/looksPerInterval {
		w.looks = nil
	}
	w.last = now
	before := w.looks
	w.looks = make(map[work]int)
	hangs := ""
	for what, number := range w.atWork {
		found := work{what, number}
		w.looks[found] = before[found] + 1
		if w.looks[found] >= hungLooks {
			hangs = what
		}
	}
	switch {
	case hangs == "":
		if w.hangs != "" {
			logrus.Warnf("%s: it goes on", w.hangs)
		}
		w.notify(systemd.SdNotifyWatchdog)
	case w.hangs == "":
		why := fmt.Sprintf("%s for %v", hangs, (hungLooks-1)*w.every)
		logrus.Errorf("%s: recentfs hangs, and is to be ended and started again", why)
		// The service manager logs the reason too: this process may end before it does.
		w.notify("STATUS=" + why + "\nWATCHDOG=trigger")
	}
	w.hangs = hangs
}
