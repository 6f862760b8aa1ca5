package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// Leave is the signal on which a worker leaves everything to the next one.
const Leave = syscall.SIGUSR2

const (
	// A worker that dies is replaced, unless burst of them have died within
	// burstTime, as in systemd.
	burst     = 5
	burstTime = 10 * time.Second
)

// keeper is the process of Keep.
type keeper struct {
	program string
	args    []string    // of the next worker, with the program's name
	next    []string    // of all workers but the first
	pending []os.Signal // that no worker has got yet
	socket  *net.UnixConn
	outer   *Holder // whoever started us and wants to know that we are ready; may be nil

	interval time.Duration // in which a worker says that it works
	asked    bool          // outer wants to hear the same of us, in the same interval
	abort    func(Held)

	drained chan struct{} // gets one when serve meets a message of our own

	mu    sync.Mutex
	store Held    // guarded by mu
	last  *worker // guarded by mu: the last one that was started
}

// Keep runs a program as a worker, and holds what the worker stores. When the worker
// dies, or has left on SIGUSR2, the next one gets it. SIGTERM and SIGINT end the
// worker, and Keep with it. It returns the worker's exit code. The first worker gets
// first as its arguments, and each further one next, all with the program's name. If no
// worker goes on with what is stored, abandon gets it.
//
// A worker that hangs is ended too. If it cannot even be killed, abort gets what is
// stored, which stays Keep's, and ends what the worker may wait for.
func Keep(program string, first, next []string, abandon, abort func(Held)) (code int, err error) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, Leave)
	defer signal.Stop(signals)
	k := &keeper{program: program, args: first, next: next, abort: abort, store: make(Held), drained: make(chan struct{})}
	if k.outer, err = NewHolder(); err != nil {
		return 1, err
	}
	os.Unsetenv(notifySocket) // the worker has another
	k.setInterval()
	if err := k.listen(); err != nil {
		return 1, fmt.Errorf("--keep: %w", err)
	}
	defer k.socket.Close()
	go k.serve()
	code, err = k.run(signals)
	k.mu.Lock()
	defer k.mu.Unlock()
	abandon(k.store)
	k.store.Close()
	k.outer.Close()
	return code, err
}

// run starts workers, one after the other.
func (k *keeper) run(signals <-chan os.Signal) (code int, err error) {
	var deaths []time.Time
	for {
		w, err := k.start()
		if err != nil {
			return 1, err
		}
		status, told := k.watch(w, signals)
		switch code := exitCode(status); {
		case told == syscall.SIGTERM, told == syscall.SIGINT:
			return code, nil
		case told == Leave && code == 0:
			continue
		case code == 0: // it has stopped by itself, in order
			return 0, nil
		case !isClosed(w.ready):
			return code, errors.New("--keep: recentfs did not get ready")
		}
		deaths = append(deaths, time.Now())
		if len(deaths) > burst {
			deaths = slices.Delete(deaths, 0, 1)
			if time.Since(deaths[0]) < burstTime {
				return 1, fmt.Errorf("--keep: recentfs died %d times within %v: queues and mounts are given up", burst, burstTime)
			}
		}
		logrus.Warnf("recentfs has died (%s): the next one goes on", describe(status))
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
