package daemon

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/fs"
)

// keptMount is a mount of ours that is mounted again when somebody else unmounts it.
type keptMount struct {
	name    string
	restore func() (restored bool, err error)
	ended   func() <-chan struct{} // closed when there is something to restore; nil if only the list of mounts tells
	hidden  func() string          // what to say of the directory under it then

	backoff
	failing  bool
	said     string // why it cannot be mounted, as far as that was said
	restored sparingly
}

func (s *Server) keep(name string, m *fs.Mountpoint) *keptMount {
	restore := func() (restored bool, err error) {
		if restored, err = m.Restore(); restored {
			err = s.storeMount(name, m)
		}
		return restored, err
	}
	return &keptMount{name: m.Dir(), restore: restore, ended: m.Ended, hidden: func() string {
		if text := hiddenFiles(m); text != "" {
			return "; " + text
		}
		return ""
	}}
}

// keepMounts mounts again what somebody else unmounts, until ctx is done. No other
// task calls Restore, and this one stops before the mounts are taken down.
func (s *Server) keepMounts(ctx context.Context, ready func()) error {
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // some may have come or gone before the watch
	unwatch, err := s.host.Watch(func() {
		select {
		case changed <- struct{}{}:
		default: // they are yet to be looked at
		}
	})
	if err != nil {
		return err
	}
	defer unwatch()
	tables, module := s.keep(tablesMount, s.tables), s.keep(moduleMount, s.module)
	kept := []*keptMount{tables, module}
	if s.config.ProcNet {
		kept = append(kept, &keptMount{name: "the cover of /proc/net", restore: s.host.RestoreCover, hidden: func() string { return "" }})
	}
	// Whoever renames the directory of a mount takes the mount along, and tells nobody.
	renamed := time.NewTicker(renameTime)
	defer renamed.Stop()
	ready()
	for {
		select {
		case <-changed:
		case <-renamed.C:
		case <-tables.mayHaveEnded():
		case <-module.mayHaveEnded():
		case <-retry(kept):
		case <-ctx.Done():
			return nil
		}
		start := time.Now()
		for _, k := range kept {
			k.look(start)
		}
		select {
		case <-time.After(rest(time.Since(start))):
		case <-ctx.Done():
			return nil
		}
	}
}

// A look at the mounts takes long where there are thousands, and these may come and
// go all the time. So a rest follows that is restFactor times as long as the look,
// within limits. Somebody who unmounts in a loop keeps nobody busy either.
const (
	restFactor   = 20
	shortestRest = 20 * time.Millisecond
	longestRest  = time.Second
)

// renameTime is how long a rename goes unnoticed.
const renameTime = 10 * time.Second

func rest(look time.Duration) time.Duration {
	return min(max(restFactor*look, shortestRest), longestRest)
}

// mayHaveEnded is closed when the mount has ended. While it cannot be mounted
// again, that says nothing new.
func (k *keptMount) mayHaveEnded() <-chan struct{} {
	if k.failing {
		return nil
	}
	return k.ended()
}

// retry gets the time when the next mount that could not be mounted is due.
func retry(kept []*keptMount) <-chan time.Time {
	var next time.Time
	for _, k := range kept {
		if k.failing {
			next = earlier(next, k.next)
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// look mounts it again where somebody has unmounted it.
func (k *keptMount) look(now time.Time) {
	if k.failing && !k.due(now) {
		return
	}
	restored, err := k.restore()
	if err != nil {
		k.fail(now, err)
		return
	}
	k.failing = false
	if k.said != "" {
		k.said = ""
		logrus.Infof("%s is mounted again", k.name)
		return
	}
	if !restored {
		return
	}
	if times := k.restored.say(now); times > 0 {
		logrus.Warnf("%s was unmounted by somebody else%s, and is mounted again: no table has changed; to stop recentfs, send it SIGTERM%s", k.name, often(times), k.hidden())
	}
}

// fail notes why it cannot be mounted. A first failure is tried again at once,
// since somebody may have unmounted it once more.
func (k *keptMount) fail(now time.Time, err error) {
	first := !k.failing
	k.failed(now)
	k.failing = true
	if text := err.Error(); !first && text != k.said {
		k.said = text
		logrus.Errorf("%s was unmounted by somebody else, and cannot be mounted again: %v; packets are decided as before; recentfs tries again, every %v at the latest", k.name, err, longestWait)
	}
}
