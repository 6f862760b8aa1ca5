package daemon

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
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
// namespaces again, and logs which packets were lost.
func (s *Server) check() {
	if s.cover != nil {
		if err := s.cover.Refresh(); err != nil {
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
