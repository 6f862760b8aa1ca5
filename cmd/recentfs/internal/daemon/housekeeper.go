package daemon

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/match/recent"
)

// houseEvery is how often keepHouse does its work.
const houseEvery = 10 * time.Second

// keepHouse does the periodic work until the end.
func (s *Server) keepHouse(ctx context.Context, ready func()) error {
	ready()
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.check()
		case <-ctx.Done():
			return nil
		}
	}
}

// check adds to a covered /proc/net what the kernel has added, tries refused
// namespaces again, and logs which writes were refused and which packets were
// lost.
func (s *Server) check() {
	s.refusedWrites = logRefused(s.answers.module.Refused(), s.refusedWrites)
	if s.config.ProcNet {
		if err := s.host.RefreshCover(); err != nil {
			logrus.Warnf("/proc/net: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reconcile(true)
	for _, i := range s.instances {
		i.logLosses()
	}
}

// logRefused says which writes were refused since there were that many of them,
// and returns how many there are now. The kernel says so at once
// (recent_mt_proc_write), but a writer must not fill the log.
func logRefused(now recent.Refused, before uint64) uint64 {
	if now.Count > before {
		logrus.Debugf("%d writes into tables were refused (EINVAL), the last one into %q: %s", now.Count-before, now.Table, now.Reason)
	}
	return now.Count
}
