// Package daemon is a running recentfs: an instance for each network namespace,
// which decides the packets of its queues, the mounts that show the tables, and
// the control socket.
//
// A Server is made of tasks. They start one after the other, in the order of
// Server.Start, and stop in reverse.
//
// Lock order: Server.reloading, Server.saving, Server.mu, Queue.running of capture/nfqueue,
// instance.deciding. Then the locks of match/recent and fs, which call nothing of
// this package while they hold one. Server.mu is held
//   - while tables come and go, and so while fs tells the kernel, which waits for no
//     answer of ours (Conn.Distrust of fs/device);
//   - while lines are logged, which waits for nobody: see LogWriter;
//   - while the loop of a queue or of a packet log ends.
//
// What the mounts ask (mountAnswers) takes none of these locks, and the loops do not
// take Server.mu. So nobody for whom its holder waits can wait for it.
package daemon

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"

	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/cmd/recentfs/internal/helper"
	"recentfs/fs"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/namespaces"
)

// Server is a running recentfs.
type Server struct {
	config  Config
	host    helper.Host
	wanted  *namespaces.Selection // only for names
	clock   *jiffies.System
	answers mountAnswers
	procs   int // GOMAXPROCS without queues

	tasks   *tasks
	started chan struct{} // closed when all tasks are ready
	broken  chan struct{} // gets one when the loop of a queue has ended by itself

	successors chan *handover.Successor // gets a process that wants to take over
	// Wait sets these before Stop, and the tasks read them after their ctx is done.
	leaving   bool                // mounts and queues go on in the next process
	successor *handover.Successor // that process, unless a holder starts it

	// A task sets these before it is ready. The tasks after it read them.
	live      string // the directory in memory of tables that outlive a process
	outliving outliving
	goesOn    bool       // where a process before has left off
	packets   *LogWriter // takes what LOG targets log; nil for standard error
	tables    *fs.Mountpoint
	root      *fs.Folder     // the tables of the only namespace; nil if each has a folder
	folders   *fs.Namespaces // nil if there is only one namespace
	module    *fs.Mountpoint

	refusedWrites uint64         // how many check has logged; only the housekeeper's task uses it
	watched       []watchedQueue // only who calls AtWork uses it

	// reloading serialises reloads, from the reading of the files to the end. So
	// the reload that began last decides which rules stay.
	reloading sync.Mutex
	params    Params // guarded by reloading: as last read

	saving sync.Mutex // serialises the saving of tables; taken before mu

	// mu guards the instances and what they are made of.
	mu        sync.Mutex
	files     map[string]*ruleset.File    // guarded by mu: the rules at work, by file name
	instances map[namespaces.ID]*instance // guarded by mu
	refused   map[namespaces.ID]string    // guarded by mu: why a namespace has no instance
	stopped   bool                        // guarded by mu: no instance gets new rules
}

// New returns a Server that is not started. It reads the rules.
func New(c Config) (*Server, error) {
	files, err := c.readRules(c.Params.Params)
	if err != nil {
		return nil, err
	}
	queues, kept := 0, 0
	for _, file := range files {
		queues += len(file.Queues())
		if c.State != "" {
			kept += keptQueue*len(file.Queues()) + keptTable*len(file.Tables())
		}
	}
	if err := checkLimits(queues, kept); err != nil {
		return nil, err
	}
	wanted, err := namespaces.Parse(c.Netns)
	if err != nil {
		return nil, err
	}
	host, err := c.openHost()
	if err != nil {
		return nil, err
	}
	s, err := prepare(c, host)
	if err != nil {
		host.Close()
		return nil, err
	}
	s.wanted, s.files = wanted, files
	return s, nil
}

func prepare(c Config, host helper.Host) (*Server, error) {
	clock, err := newClock(host)
	if err != nil {
		return nil, err
	}
	module, err := recent.NewModuleWithin(uint64(c.MaxMemory), c.Params.Params, clock)
	if err != nil {
		return nil, err
	}
	return &Server{
		config: c, params: c.Params, host: host, clock: clock, answers: mountAnswers{module: module, netnsOf: host.NetnsOf}, procs: runtime.GOMAXPROCS(0),
		tasks: newTasks(), started: make(chan struct{}), broken: make(chan struct{}, 1),
		successors: make(chan *handover.Successor, 1), outliving: outliving{kept: c.State != ""},
		instances: make(map[namespaces.ID]*instance), refused: make(map[namespaces.ID]string),
	}, nil
}

// openHost opens the machine, for what needs privileges.
func (c *Config) openHost() (helper.Host, error) {
	want := helper.Allowed{Mountpoint: c.Mountpoint, Netns: c.Netns, ProcNet: c.ProcNet, KernelLog: c.LogPackets == kmsg}
	if c.Helper != "" {
		return helper.Connect(c.Helper, want)
	}
	return helper.NewOwn(want)
}

// newClock finds the kernel's jiffies. Where nobody may look, as in a container, it has
// some of its own.
func newClock(host helper.Host) (*jiffies.System, error) {
	list, err := host.Open(helper.TimerList)
	if err != nil {
		return jiffies.NewSystemFrom(nil)
	}
	defer list.Close()
	return jiffies.NewSystemFrom(list)
}

// Start starts all tasks, until ctx is done. An error leaves nothing behind.
func (s *Server) Start(ctx context.Context) error {
	order := []task{
		s.openPacketOutput,
		s.takeOver,
		s.lockState,
		s.selectNamespaces,
		s.serveControl, // early, since the socket tells whether another recentfs is running
		s.awaitSuccessor,
		s.showTables,
		s.serveNamespaces,
	}
	if len(s.config.Netns) > 0 {
		order = append(order, s.watchNamespaces) // this process's own neither comes nor goes
	}
	order = append(order, s.showModule, s.coverProcNet, s.keepMounts, s.keepHouse)
	if s.config.State != "" {
		order = append(order, s.keepSnapshots)
	}
	for _, t := range order {
		if s.tasks.start(ctx, t) {
			continue
		}
		if ctx.Err() != nil {
			return nil // Wait returns at once, and Stop stops what has started
		}
		return s.tasks.stop()
	}
	s.dropRest()
	close(s.started)
	s.announce()
	return nil
}

// Wait returns when ctx is done, or when a task fails. A hangup is a reload. It also
// returns when mounts and queues are to be left to the next process: on a signal of
// leaves, or when that process asks.
func (s *Server) Wait(ctx context.Context, hangups, leaves <-chan os.Signal) {
	if err := s.host.CheckProcesses(); err != nil {
		logrus.Warnf("'self' and /proc/net/xt_recent lead nowhere for %v", err)
	}
	for {
		select {
		case <-ctx.Done():
			logrus.Infof("%v: stopping", context.Cause(ctx))
			return
		case <-hangups:
			if err := s.Reload(io.Discard); err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					logrus.Errorf("reload: %s", line)
				}
				logrus.Error("reload: the rules stay as they were, and so do the parameters")
			}
		case <-leaves:
			if s.outliving.holder == nil {
				logrus.Warn("nobody holds the mounts and queues for a next process: it needs --state, and --keep or systemd's service")
				continue
			}
			if err := s.outliving.holder.Answers(); err != nil {
				logrus.Warnf("who held the mounts and queues for a next process is gone: %v", err)
				continue
			}
			logrus.Info("leaving mounts and queues to the next process")
			s.leave(nil)
			return
		case n := <-s.successors:
			logrus.Info("another recentfs takes over")
			s.leave(n)
			return
		case <-s.tasks.failed:
			return
		}
	}
}

// Stop stops all tasks. Its error is what made Wait return, or else what could
// not be taken down.
func (s *Server) Stop() error {
	defer s.host.Close()
	err := s.tasks.stop()
	return errors.Join(err, s.handOver())
}
