package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	floodSources = 10000
	floodLength  = 1500 * time.Millisecond
	unbounded    = 1 << 40 // packets
	// queueLength and receiveBuffer are those that recentfs asks for.
	queueLength   = 8192
	receiveBuffer = 8 << 20
	burst         = 8000 // packets that fit into a queue
	pings         = 4000
	pingLength    = 2 * time.Second
	drainTime     = 200 * time.Millisecond // without a verdict

	udpMatch  = "-p udp -m udp --dport 22"
	icmpMatch = "-p icmp -m icmp --icmp-type 8"
)

// decider is a process that decides the packets of a queue, or of several in
// a row that share what is sent to the first.
type decider struct {
	*process
	queue, queues int
}

// packets floods each decider in turn, sends bursts, and pings. All of them
// run all the time, each on its queue: who is measured depends on where
// packets are sent, and so nothing starts anew for a round.
func packets(b *bench) (err error) {
	text := rules([]int{queueSSH, queueAccepting, queuePing},
		chain(queueSSH, udpMatch, "SSH", "DROP"),
		chain(queueAccepting, udpMatch, "ACCEPTED", "ACCEPT"),
		chain(queuePing, icmpMatch, "PING", "ACCEPT"))
	ours, err := b.daemon(b.server, text, "ip_list_tot=16384")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	c, err := b.server.serve(command(b.ctx, b.accept, peerArgs(queueC)...))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	stock, err := b.server.serve(command(b.ctx, b.stockqueue, peerArgs(queueStock)...))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stock.stop()) }()

	deciders := []decider{
		queueSSH:       {ours.process, queueSSH, 1},
		queueAccepting: {ours.process, queueAccepting, 1},
		queueC:         {c, queueC, 1},
		queueStock:     {stock, queueStock, 1},
	}
	if err := b.floods(deciders); err != nil {
		return err
	}
	if err := b.bursts(deciders[queueSSH], deciders[queueC]); err != nil {
		return err
	}
	return b.pings()
}

func peerArgs(queue int) []string {
	return []string{strconv.Itoa(queue), strconv.Itoa(queueLength), strconv.Itoa(receiveBuffer)}
}

// flooded is what a flood came to.
type flooded struct {
	sent    float64 // thousands of packets sent per second
	perWall float64 // thousands decided per second while the flood lasted
	perCPU  float64 // thousands decided per second of processor time
	lost    float64 // of a hundred packets sent, those that met no verdict
}

// flood sends a flood to a decider and waits until all is decided.
func (b *bench) flood(to decider, sources int, length time.Duration, packets int) (f flooded, err error) {
	cmd, err := b.flooder(to.queue, sources, length, packets)
	if err != nil {
		return f, err
	}
	before, err := b.counters(to.queue, to.queues)
	if err != nil {
		return f, err
	}
	idle, err := to.cpu()
	if err != nil {
		return f, err
	}
	var sent, seconds float64
	if err := b.client.numbers(cmd, &sent, &seconds); err != nil {
		return f, err
	}
	after, err := b.counters(to.queue, to.queues)
	if err != nil {
		return f, err
	}
	f.sent = sent / seconds / 1000
	f.perWall = float64(after.decided()-before.decided()) / seconds / 1000
	if after, err = b.drain(to); err != nil {
		return f, err
	}
	busy, err := to.cpu()
	if err != nil {
		return f, err
	}
	decided := float64(after.decided() - before.decided())
	f.perCPU = decided / (busy - idle).Seconds() / 1000
	f.lost = 100 * (sent - decided) / sent
	return f, nil
}

// drain waits until no packet waits for a decider, or until it decides no
// more: go-nfqueue forgets a packet whose verdict it could not send.
func (b *bench) drain(d decider) (c counters, err error) {
	var last uint64
	for moved := time.Now(); time.Since(moved) < drainTime; time.Sleep(time.Millisecond) {
		if c, err = b.counters(d.queue, d.queues); err != nil || c.waiting == 0 {
			return c, err
		}
		if c.waiting != last {
			last, moved = c.waiting, time.Now()
		}
	}
	return c, nil
}

// floods measures all deciders, which are in the order of their queues.
func (b *bench) floods(deciders []decider) error {
	const perCPU, wall = "packets per CPU second", "packets per second, flood, queue length 8192"
	r := &b.report
	ssh := r.row("packets", perCPU+", ssh rules", "k/s", "C accept-all", goal{ratioAtLeast, 1.1})
	accepting := r.row("packets", perCPU+", ssh rules with ACCEPT for DROP", "k/s", "C accept-all", goal{})
	stock := r.row("packets", perCPU+", ssh rules", "k/s", "stock go-nfqueue", goal{ratioAtLeast, 4})
	speed := r.row("packets", wall, "k/s", "C accept-all", goal{ratioAtLeast, 1})
	lost := r.row("packets", "lost of that flood", "%", "C accept-all", goal{aboveAtMost, 0})
	var sent []float64
	err := b.each(func(round int) error {
		f := make([]flooded, len(deciders))
		for i := range deciders {
			turn := (round + i) % len(deciders)
			var err error
			if f[turn], err = b.flood(deciders[turn], floodSources, floodLength, unbounded); err != nil {
				return err
			}
		}
		ssh.add(f[queueSSH].perCPU, f[queueC].perCPU)
		accepting.add(f[queueAccepting].perCPU, f[queueC].perCPU)
		stock.add(f[queueSSH].perCPU, f[queueStock].perCPU)
		speed.add(f[queueSSH].perWall, f[queueC].perWall)
		lost.add(f[queueSSH].lost, f[queueC].lost)
		sent = append(sent, f[queueSSH].sent)
		return nil
	})
	if median(lost.ours) < 1 {
		r.note("packets: the flood was %.4g k/s, all that one processor sends here, and ours decided it: packets per second compares the sender with itself.", median(sent))
	}
	return err
}

// bursts sends as many packets at once as a queue holds.
func (b *bench) bursts(ours, peer decider) error {
	lost := b.report.row("packets", fmt.Sprintf("lost of a burst of %d", burst), "%", "C accept-all", goal{aboveAtMost, 0})
	return b.each(func(int) error {
		f, err := b.flood(ours, floodSources, floodLength, burst)
		if err != nil {
			return err
		}
		c, err := b.flood(peer, floodSources, floodLength, burst)
		lost.add(f.lost, c.lost)
		return err
	})
}

// pings measures the round trip of single packets.
func (b *bench) pings() error {
	trip := b.report.row("packets", "median round trip of a ping", "us", "C accept-all", goal{ratioAtMost, 1.1})
	return b.each(func(int) error {
		ours, err := b.ping(queuePing, pings, pingLength)
		if err != nil {
			return err
		}
		c, err := b.ping(queueC, pings, pingLength)
		if err != nil {
			return err
		}
		trip.add(quantile(ours.trips, 0.5), quantile(c.trips, 0.5))
		return nil
	})
}
