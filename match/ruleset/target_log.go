package ruleset

import (
	"fmt"
	"sync/atomic"

	"recentfs/capture"
	"recentfs/match/jiffies"
)

// A LOG rule logs logBurst packets at once and one more every half second.
// That is the kernel's own limit for what a packet can make it print
// (net_ratelimit: net.core.message_burst 10, net.core.message_cost 5 seconds),
// but for each rule by itself, so that no rule silences another.
const (
	logBurst     = 10
	logPerSecond = 2
	logBuffer    = 256 // records that wait to be logged
)

const (
	maxLogPrefix    = 29 // sizeof xt_log_info.prefix, less its final NUL
	defaultLogLevel = 4  // LOG_WARNING
)

// logLevels are the names that xtopt_parse_sysloglevel knows.
var logLevels = map[string]uint8{
	"emerg": 0, "panic": 0, "alert": 1, "crit": 2, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
}

// logTarget is struct xt_log_info with the state of the limit.
type logTarget struct {
	prefix string
	level  uint8
	flags  logFlags
	hz     uint32
	// full is when the bucket will be full again, in 1/logPerSecond jiffies: a
	// record may pass while it is less than a burst ahead.
	full atomic.Uint64
}

// start is a copy whose bucket is full.
func (t *logTarget) start(clock jiffies.Clock) *logTarget {
	return &logTarget{prefix: t.prefix, level: t.level, flags: t.flags, hz: clock.HZ()}
}

// allow takes a record out of the bucket. Setting the clock back fills the
// bucket.
func (t *logTarget) allow(now jiffies.Jiffies) bool {
	cost := uint64(t.hz) // one record: 1/logPerSecond seconds
	for {
		was := t.full.Load()
		full, at := was, uint64(now)*logPerSecond
		switch ahead := int64(full - at); {
		case ahead < 0 || ahead > int64(logBurst*cost):
			full = at
		case ahead > int64((logBurst-1)*cost):
			return false
		}
		if t.full.CompareAndSwap(was, full+cost) {
			return true
		}
	}
}

// logOptions reads the options of -j LOG.
type logOptions struct{ *logTarget }

func newLogOptions(t *target) logOptions {
	t.log = &logTarget{level: defaultLogLevel}
	return logOptions{t.log}
}

func (o logOptions) options() []option {
	return []option{
		{names: []string{"log-level"}, args: 1, read: o.readLevel},
		{names: []string{"log-prefix"}, args: 1, read: o.readPrefix},
		{names: []string{"log-tcp-sequence"}, read: o.set(logTCPSequence)},
		{names: []string{"log-tcp-options"}, read: o.set(logTCPOptions)},
		{names: []string{"log-ip-options"}, read: o.set(logIPOptions)},
		{names: []string{"log-uid"}, read: o.set(logUID)},
		{names: []string{"log-macdecode"}, read: refuseMAC},
	}
}

func (o logOptions) readLevel(_ *line, g *given) error {
	level, ok := logLevels[g.arg[0]]
	if !ok {
		n, isNumber := number(g.arg[0], 7)
		if !isNumber {
			return fmt.Errorf("%s %q: a number from 0 to 7 is needed, or a name such as info or warning", g.name, g.arg[0])
		}
		level = uint8(n)
	}
	o.level = level
	return nil
}

// readPrefix cuts a long prefix, as xtopt_parse_string does.
func (o logOptions) readPrefix(_ *line, g *given) error {
	if g.arg[0] == "" {
		return fmt.Errorf("%s is empty: leave it out, or give it 1 to %d bytes", g.name, maxLogPrefix)
	}
	o.prefix = g.arg[0][:min(len(g.arg[0]), maxLogPrefix)]
	return nil
}

// set returns what reads an option that is one of the flags.
func (o logOptions) set(f logFlags) func(*line, *given) error {
	return func(*line, *given) error {
		o.flags |= f
		return nil
	}
}

func refuseMAC(_ *line, g *given) error {
	return fmt.Errorf("%s: the queue does not hand over a packet's link header, leave this out or log in the kernel", g.name)
}

func (o logOptions) check(*line) error { return nil }

// appendLog follows LOG_save.
func appendLog(b []byte, t *target) []byte {
	if t.log.prefix != "" {
		b = quote(append(b, " --log-prefix "...), t.log.prefix)
	}
	if t.log.level != defaultLogLevel {
		b = fmt.Appendf(b, " --log-level %d", t.log.level)
	}
	for i, name := range [...]string{" --log-tcp-sequence", " --log-tcp-options", " --log-ip-options", " --log-uid"} {
		if t.log.flags&(1<<i) != 0 {
			b = append(b, name...)
		}
	}
	return b
}

// Logs are the packets that met a LOG rule, for another goroutine to print. The
// channel is never closed. It is nil if no rule logs.
func (s *Set) Logs() <-chan LogRecord { return s.logs }

// LogsDropped is the number of packets that met a LOG rule and are not in
// Logs, because the rule's limit was reached or Logs was full.
func (s *Set) LogsDropped() uint64 { return s.logsDropped.Load() }

// log makes a record. It does not wait for a reader.
func (q *Queue) log(t *logTarget, p *capture.Packet, now jiffies.Jiffies) {
	if t.allow(now) {
		select {
		case q.set.logs <- newLogRecord(t, p):
			return
		default:
		}
	}
	q.set.logsDropped.Add(1)
}
