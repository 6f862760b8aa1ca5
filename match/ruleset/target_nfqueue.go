package ruleset

import "fmt"

// queueOptions reads the options of -j NFQUEUE.
type queueOptions struct{ *target }

func (o *queueOptions) options() []option {
	return []option{
		{names: []string{"queue-num"}, args: 1, read: o.readNumber},
		{names: []string{"queue-balance"}, args: 1, read: refuseQueueOption},
		{names: []string{"queue-bypass"}, read: o.readBypass},
		{names: []string{"queue-cpu-fanout"}, read: refuseQueueOption},
	}
}

func (o *queueOptions) readNumber(_ *line, g *given) error {
	n, ok := number(g.arg[0], 65535)
	if !ok {
		return fmt.Errorf("%s %q: a number from 0 to 65535 is needed", g.name, g.arg[0])
	}
	o.queue = uint16(n)
	return nil
}

func (o *queueOptions) readBypass(*line, *given) error {
	o.bypass = true
	return nil
}

func refuseQueueOption(_ *line, g *given) error {
	return fmt.Errorf("%s: a verdict can only name a queue, put this option on the kernel's rule that queues", g.name)
}

func (o *queueOptions) check(*line) error { return nil }

// appendQueue follows NFQUEUE_save_v2.
func appendQueue(b []byte, t *target) []byte {
	b = fmt.Appendf(b, " --queue-num %d", t.queue)
	if t.bypass {
		b = append(b, " --queue-bypass"...)
	}
	return b
}
