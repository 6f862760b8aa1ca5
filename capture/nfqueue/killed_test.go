package nfqueue

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/capture"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
	"recentfs/match/state"
	"recentfs/tests/lab"
)

// killedEnv is how a process is to end: TestKilled.
const killedEnv = "RECENTFS_TEST_KILLED"

// killedRules stamp each packet twice in A, and once in C. Those to port 9998 go
// through the hook twice, but through these rules once.
const killedRules = `*recent
:QUEUE3-4 ACCEPT
:stamp -
-A QUEUE3-4 -m recent --rcheck --name NONE -j DROP
-A QUEUE3-4 -m recent --set --name A
-A QUEUE3-4 -j stamp
-A QUEUE3-4 -p udp -m udp --dport 9998 -j MARK --or-mark 1
-A QUEUE3-4 -p udp -m udp --dport 9998 -j REPEAT
-A stamp -m recent --update --seconds 60 --name A
-A stamp -m recent --set --name B
-A stamp -m recent --remove --name B -m recent --set --name C
COMMIT
`

// killedQueues are the numbers of the queues.
var killedQueues = []uint16{3, 4}

// killedTables are the tables of a process that is to be killed, in a directory.
type killedTables struct {
	*recent.Registry
	set   *ruleset.Set
	clock jiffies.Clock
}

func openTables(dir string) (*killedTables, error) {
	p := recent.DefaultParams(recent.Classic)
	p.ListTot, p.PktListTot = 1<<21, 4
	clock := jiffies.NewManual(100000, 250)
	warnings := func(text string) { fmt.Fprintln(os.Stderr, text) }
	d, err := state.Open(dir, dir+"/saved", clock, warnings)
	if err != nil {
		return nil, err
	}
	m, err := recent.NewModule(p, clock)
	if err != nil {
		return nil, err
	}
	reg := m.NewRegistryIn(d, nil)
	f, err := ruleset.Parse("rules", []byte(killedRules), p)
	if err != nil {
		return nil, err
	}
	set, err := f.Load(reg)
	return &killedTables{reg, set, clock}, err
}

// ruleNotes is what the rules note of a batch.
var ruleNotes = Notes{Size: ruleset.NotesSize, Version: ruleset.NotesVersion}

// toBeKilled is the child. Its descriptors from 3 on are the Files of the queues. It
// says when it is at work, and how many packets it found received. Then it decides
// until it is killed or, at the end of its standard input, leaves.
func toBeKilled() {
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	how, batchesLeft := os.Getenv(killedEnv), new(atomic.Int64)
	batchesLeft.Store(rand.Int64N(20))
	die := func(at string) {
		if how == at && batchesLeft.Add(-1) < 0 {
			_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	tables, err := openTables(os.Args[1])
	check(err)
	var all []*Queue
	var notes []*ruleset.Notes
	received := 0
	for i, number := range killedQueues {
		q, left, err := Adopt(number, Options{}, 3+2*i, 4+2*i, ruleNotes)
		check(err)
		check(left.Unusable)
		received += left.Received
		all, notes = append(all, q), append(notes, ruleset.NotesIn(q.Notes()))
		notes[i].Settle(tables.Registry)
	}
	fmt.Println(received)
	ended := make(chan error, len(all))
	for i, q := range all {
		go func() {
			rules := tables.set.Queue(killedQueues[i])
			check(q.Finish(func(batch []capture.Packet) {
				die("before")
				rules.Resume(batch, tables.clock.Now(), notes[i])
				die("after")
			}))
			ended <- q.Run(func(batch []capture.Packet) {
				die("before")
				rules.DecideNoted(batch, tables.clock.Now(), notes[i])
				die("after")
			})
		}()
	}
	bufio.NewReader(os.Stdin).ReadByte()
	for _, q := range all {
		check(q.Leave())
	}
	for range all {
		check(<-ended)
	}
	os.Exit(0)
}

// TestKilled ends processes, one after the other, while packets come, each from an
// address of its own. None is lost, and each was stamped as the rules say, once.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		how  string
		ends int
	}{
		{"at a random moment", 20},
		{"before", 8}, // the packets of a batch are decided
		{"after", 8},  // they are decided, and before their verdicts are sent
		{"leaves", 15},
	} {
		t.Run(c.how, func(t *testing.T) {
			r := startRelay(t)
			for range lab.Soak(c.ends, 300) {
				p := r.start(c.how)
				r.count(&r.allowed, 1500)
				enough := r.arrived.Load() + rand.Uint64N(1000)
				switch c.how {
				case "leaves":
					r.await(enough)
					p.leave()
				case "before", "after":
					p.wait()
				default:
					r.await(enough)
					for range rand.IntN(1 << 16) { // some 50 us
						_ = rand.Uint32()
					}
					p.kill()
				}
			}
			last := r.start("leaves")
			r.count(&r.allowed, 1500)
			r.await(r.allowed.Load())
			last.leave()
			t.Logf("%d packets; processes found %d received", r.arrived.Load(), r.found)
			switch c.how {
			case "leaves":
				if r.found > 0 {
					t.Error("processes have left packets that they had received")
				}
			case "before", "after":
				if r.found == 0 {
					t.Error("no process was killed with packets that it had received")
				}
			}
			r.check()
		})
	}
}
