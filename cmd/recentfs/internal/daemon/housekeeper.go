package daemon

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

// houseEvery is how often keepHouse does its work.
const houseEvery = 10 * time.Second

// keepHouse does from time to time what nothing else brings about.
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

// check says which packets were lost, tries namespaces again that have no
// instance, and gives /proc/net, if that is covered, what the kernel has added.
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
