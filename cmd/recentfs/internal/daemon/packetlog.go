package daemon

import (
	"fmt"

	"github.com/sirupsen/logrus"

	"recentfs/match/ruleset"
)

// packetLog writes what the LOG targets of a set of rules log.
type packetLog struct {
	rules *ruleset.Set
	netns string     // the network namespace's name, if there are several
	out   *LogWriter // nil for standard error
	quit  chan struct{}
	done  chan struct{} // closed when run has returned
}

func startPacketLog(rules *ruleset.Set, netns string, out *LogWriter) *packetLog {
	l := &packetLog{rules: rules, netns: netns, out: out, quit: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

func (l *packetLog) run() {
	defer close(l.done)
	for {
		select {
		case r := <-l.rules.Logs():
			l.write(r)
		case <-l.quit:
			for {
				select {
				case r := <-l.rules.Logs():
					l.write(r)
				default:
					return
				}
			}
		}
	}
}

// stop returns when everything that was logged before is written.
func (l *packetLog) stop() {
	close(l.quit)
	<-l.done
}

// write logs a packet at its rule's level, of which syslog has eight.
func (l *packetLog) write(r ruleset.LogRecord) {
	if l.out != nil {
		fmt.Fprintf(l.out, "<%d>%s\n", r.Level, r)
		return
	}
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
