package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"recentfs/capture"
	"recentfs/capture/pcap"
	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/cmd/recentfs/internal/report"
	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// replayHZ is the HZ of a capture file's clock: a jiffy is a millisecond since
// 1970, so that the same file gives the same stamps on every machine.
const replayHZ = 1000

func replayCommand() *cobra.Command {
	var params paramFlags
	var file string
	var asJSON bool
	var number uint16
	cmd := &cobra.Command{
		Use:   "replay CAPTURE",
		Short: "Put a capture file's packets through rules",
		Long: `replay puts the packets of a capture file (pcap or pcapng) through the rules, on
the file's own clock, and prints how many packets each rule and chain decided,
then the tables as the last packet left them. It needs no root and touches
nothing. Packets go to the chain of the lowest queue, or of --queue.`,
		Example: "  recentfs replay -r /etc/recentfs/rules attack.pcap\n  recentfs replay --json -r rules attack.pcapng",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := params.params()
			if err != nil {
				return err
			}
			return running(func(cmd *cobra.Command, args []string) error {
				rules, err := daemon.ReadRules(file, "--rules", p)
				if err != nil {
					return err
				}
				queues := rules.Queues()
				if len(queues) == 0 {
					return errors.New("the rules have no chain for a queue: add one, as :QUEUE0 ACCEPT [0:0]")
				}
				if !cmd.Flags().Changed("queue") {
					number = queues[0]
				}
				r := replay{number: number, clock: jiffies.NewManual(0, replayHZ), verdicts: make(map[string]int)}
				if err := r.load(rules, p); err != nil {
					return err
				}
				defer r.rules.Close()
				// What a file that breaks off has shown by then is worth showing.
				failed := r.file(args[0])
				if r.packets == 0 && failed != nil {
					return failed
				}
				show := r.print
				if asJSON {
					show = r.printJSON
				}
				return errors.Join(show(cmd.OutOrStdout()), failed)
			})(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&file, "rules", "r", "", "`FILE` of rules (default: the built-in example)")
	cmd.Flags().Uint16Var(&number, "queue", 0, "the queue `N` that the packets come by (default: the lowest that has a chain)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replay is a capture file on its way through rules.
type replay struct {
	number   uint16
	clock    *jiffies.Manual
	reg      *recent.Registry
	rules    *ruleset.Set
	packets  int
	verdicts map[string]int
	last     time.Time
}

// load puts the rules to work on tables of their own.
func (r *replay) load(rules *ruleset.File, p recent.Params) (err error) {
	module, err := recent.NewModule(p, r.clock)
	if err != nil {
		return err
	}
	r.reg = module.NewRegistry(nil)
	if r.rules, err = rules.Load(r.reg); err != nil {
		return err
	}
	if r.rules.Queue(r.number) == nil {
		r.rules.Close()
		return fmt.Errorf("the rules have no chain for queue %d: name one that they have by --queue", r.number)
	}
	return nil
}

// file puts all packets of a capture file through the rules.
func (r *replay) file(name string) error {
	source, err := pcap.Open(name)
	if err != nil {
		return err
	}
	defer source.Close()
	return source.Run(r.decide)
}

// maxHandovers ends a packet's way between queues that hand it to each other,
// where it would go round until the sender gives up.
const maxHandovers = 16

// decide puts packets through the chain of their queue, and of each further
// queue that a rule hands them to.
func (r *replay) decide(batch []capture.Packet) {
	for i := range batch {
		p := &batch[i]
		r.packets++
		r.last = p.Time
		r.clock.Set(jiffies.Jiffies(p.Time.UnixMilli()))
		q := r.rules.Queue(r.number)
		for range maxHandovers {
			q.Decide(batch[i:i+1], r.clock.Now())
			n, handed := p.Verdict.Queue()
			if q = r.rules.Queue(n); !handed || q == nil {
				break
			}
		}
		r.verdicts[verdictName(p.Verdict)]++
	}
}

func verdictName(v capture.Verdict) string {
	switch v {
	case capture.Accept:
		return "accept"
	case capture.Drop:
		return "drop"
	case capture.Repeat:
		return "repeat"
	}
	n, _ := v.Queue()
	return fmt.Sprintf("queue %d", n)
}

// print writes the verdicts, the rules with their counters, and the tables.
func (r *replay) print(w io.Writer) error {
	fmt.Fprintf(w, "# %d packets", r.packets)
	for _, name := range slices.Sorted(maps.Keys(r.verdicts)) {
		fmt.Fprintf(w, ", %d %s", r.verdicts[name], name)
	}
	fmt.Fprintln(w)
	if err := r.rules.Save(w, true); err != nil {
		return err
	}
	for _, t := range r.reg.Tables() {
		fmt.Fprintln(w)
		entries, err := r.entries(t)
		if err != nil {
			return err
		}
		if err := report.Print(w, t.Name(), entries); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) printJSON(w io.Writer) error {
	var rules strings.Builder
	if err := r.rules.Save(&rules, true); err != nil {
		return err
	}
	out := struct {
		Packets  int                       `json:"packets"`
		Verdicts map[string]int            `json:"verdicts"`
		Rules    []string                  `json:"rules"` // as iptables-save -c prints them
		Tables   map[string][]report.Entry `json:"tables"`
	}{r.packets, r.verdicts, strings.Split(strings.TrimSpace(rules.String()), "\n"), make(map[string][]report.Entry)}
	for _, t := range r.reg.Tables() {
		var err error
		if out.Tables[t.Name()], err = r.entries(t); err != nil {
			return err
		}
	}
	return report.WriteJSON(w, out)
}

func (r *replay) entries(t *recent.Table) ([]report.Entry, error) {
	return report.Read(&tableReader{cursor: t.Cursor()}, report.Moment{Now: r.clock.Now(), HZ: replayHZ, Wall: r.last})
}

// tableReader reads a table as its file would be read.
type tableReader struct {
	cursor *recent.Cursor
	pos    int64
}

func (t *tableReader) Read(p []byte) (int, error) {
	n, err := t.cursor.ReadAt(p, t.pos)
	t.pos += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
