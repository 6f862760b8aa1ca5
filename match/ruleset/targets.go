package ruleset

import (
	"errors"
	"fmt"
	"strings"
)

// targets are the targets that are not chains.
var targets = []*extension{
	{name: "ACCEPT", target: targetAccept},
	{name: "DROP", target: targetDrop},
	{name: "RETURN", target: targetReturn},
	{name: "REPEAT", target: targetRepeat},
	{name: "MARK", target: targetMark, options: []option{
		{names: []string{"set-xmark"}, args: 1, read: readSetXMark},
		{names: []string{"set-mark"}, args: 1, read: readSetMark},
		{names: []string{"and-mark"}, args: 1, read: readAndMark},
		{names: []string{"or-mark"}, args: 1, read: readOrMark},
		{names: []string{"xor-mark"}, args: 1, read: readXorMark},
	}},
	{name: "NFQUEUE", target: targetQueue, options: []option{
		{names: []string{"queue-num"}, args: 1, read: readQueueNum},
		{names: []string{"queue-balance"}, args: 1, read: refuseQueueOption},
		{names: []string{"queue-bypass"}, read: refuseQueueOption},
		{names: []string{"queue-cpu-fanout"}, read: refuseQueueOption},
	}},
	{name: "LOG", target: targetLog, options: []option{
		{names: []string{"log-level"}, args: 1, read: readLogLevel},
		{names: []string{"log-prefix"}, args: 1, read: readLogPrefix},
		{names: []string{"log-tcp-sequence"}, read: refuseLogOption},
		{names: []string{"log-tcp-options"}, read: refuseLogOption},
		{names: []string{"log-ip-options"}, read: refuseLogOption},
		{names: []string{"log-uid"}, read: refuseLogOption},
		{names: []string{"log-macdecode"}, read: refuseLogOption},
	}},
}

func targetNames() string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.name
	}
	return strings.Join(names, ", ")
}

// setMark follows mark_tg_parse: the mark becomes mark & ^mask ^ value.
func (l *line) setMark(value, mask uint32) error {
	if l.markGiven {
		return errors.New("-j MARK takes one of --set-mark, --set-xmark, --and-mark, --or-mark and --xor-mark: use several rules")
	}
	l.markGiven = true
	l.rule.mark, l.rule.mask = value, mask
	return nil
}

func readSetXMark(l *line, g *given) error {
	value, mask, err := parseMark(g)
	if err != nil {
		return err
	}
	return l.setMark(value, mask)
}

func readSetMark(l *line, g *given) error {
	value, mask, err := parseMark(g)
	if err != nil {
		return err
	}
	return l.setMark(value, value|mask)
}

func readAndMark(l *line, g *given) error {
	bits, err := parseBits(g)
	if err != nil {
		return err
	}
	return l.setMark(0, ^bits)
}

func readOrMark(l *line, g *given) error {
	bits, err := parseBits(g)
	if err != nil {
		return err
	}
	return l.setMark(bits, bits)
}

func readXorMark(l *line, g *given) error {
	bits, err := parseBits(g)
	if err != nil {
		return err
	}
	return l.setMark(bits, 0)
}

func parseBits(g *given) (uint32, error) {
	n, ok := number(g.arg[0], 1<<32-1)
	if !ok {
		return 0, fmt.Errorf("%s %q: a number from 0 to 0xffffffff is needed", g.as, g.arg[0])
	}
	return uint32(n), nil
}

func readQueueNum(l *line, g *given) error {
	n, ok := number(g.arg[0], 65535)
	if !ok {
		return fmt.Errorf("%s %q: a number from 0 to 65535 is needed", g.as, g.arg[0])
	}
	l.rule.queue = uint16(n)
	return nil
}

func refuseQueueOption(_ *line, g *given) error {
	return fmt.Errorf("%s: a verdict can name a queue and no more, put it on the kernel's rule that queues", g.as)
}

const (
	maxLogPrefix    = 29 // sizeof xt_log_info.prefix, less its final NUL
	defaultLogLevel = 4  // LOG_WARNING
)

// logLevels are the names that xtopt_parse_sysloglevel knows.
var logLevels = map[string]uint8{
	"emerg": 0, "panic": 0, "alert": 1, "crit": 2, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7,
}

func readLogLevel(l *line, g *given) error {
	level, ok := logLevels[g.arg[0]]
	if !ok {
		n, isNumber := number(g.arg[0], 7)
		if !isNumber {
			return fmt.Errorf("%s %q: a number from 0 to 7 is needed, or a name such as info or warning", g.as, g.arg[0])
		}
		level = uint8(n)
	}
	l.logTarget().level = level
	return nil
}

func readLogPrefix(l *line, g *given) error {
	if n := len(g.arg[0]); n == 0 || n > maxLogPrefix {
		return fmt.Errorf("%s has %d bytes: it may have 1 to %d", g.as, n, maxLogPrefix)
	}
	l.logTarget().prefix = g.arg[0]
	return nil
}

func refuseLogOption(_ *line, g *given) error {
	return fmt.Errorf("%s: a packet's options, sequence numbers and owner are not seen here, leave it out or log in the kernel", g.as)
}
