package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/control"
	"recentfs/cmd/recentfs/internal/exchange"
	"recentfs/cmd/recentfs/internal/tables"
	"recentfs/match/jiffies"
)

func importCommand() *cobra.Command {
	var c importer
	cmd := &cobra.Command{
		Use:   "import [FILE...]",
		Short: "Merge addresses and their times into the tables of a running recentfs",
		Long: `import merges addresses, and the times when they were seen, into tables of a
running recentfs. It reads files, or without one, or where it is "-", standard
input. What is in a file shows by its first line:

  - the lines of 'recentfs export';
  - a dump of /proc/net/xt_recent/TABLE, as it stands. Its stamps are those of the
    running kernel, unless --hz and --now say what that of another kernel counted
    when the file was written;
  - what 'ipset save' prints of sets of type hash:ip. An entry was seen as long ago
    as its timeout has run, by the timeout that its set gives, so that a rule with
    --seconds of that many forgets it when the set would have. An entry without a
    timeout is seen now;
  - a list of addresses, one a line, # begins a comment. They are seen now.

The table is that of --table, or the one that the line, the set or the file's name
names. A rule must name it.

An address that the table has already gets the times that it lacks; one that is
seen now stays as it is. So the same import twice changes nothing more. As many of
the newest times stay as the table keeps, and where it is full, the addresses seen
least recently go. If a line is wrong, all wrong lines are printed, and nothing is
imported. What is to be imported waits in a file in TMPDIR meanwhile. Only root may
import.`,
		Example: `  recentfs import tables.json
  recentfs import --kernel
  ssh other 'cat /proc/net/xt_recent/SSH; grep ^jiffies: /proc/timer_list >&2' > SSH
  recentfs import --hz 1000 --now 4301234567 SSH
  ipset save banned | recentfs import --table BAD
  recentfs import --table BAD blocklist.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.dumpOfOther = cmd.Flags().Changed("now")
			switch {
			case c.dumpOfOther != cmd.Flags().Changed("hz"):
				return errors.New("--hz and --now go together: what the kernel of the dump counted, see its /proc/timer_list")
			case c.dumpOfOther && c.hz == 0:
				return errors.New(`--hz "0": a number of 1 or more is needed`)
			case c.kernel && (len(args) > 0 || c.dumpOfOther):
				return errors.New("--kernel reads the running kernel: it takes no files, --hz or --now")
			case !c.kernel && len(args) == 0 && exchange.IsTerminal(os.Stdin):
				return errors.New("FILE is missing, or - for standard input: recentfs import FILE")
			}
			return asRunError(func(*cobra.Command, []string) error { return c.run(cmd.OutOrStdout(), args) })(cmd, args)
		},
	}
	controlFlag(cmd, &c.control)
	cmd.Flags().StringVar(&c.netns, "netns", "", "`NAME` of the network namespace, where recentfs serves several (default: that of the caller)")
	cmd.Flags().StringVar(&c.load.Table, "table", "", "`TABLE` to import into, whatever the files name")
	cmd.Flags().BoolVar(&c.kernel, "kernel", false, "import all tables of the running kernel's own xt_recent")
	cmd.Flags().Uint32Var(&c.hz, "hz", 0, "the `HZ` of the kernel that a dump is of: its CONFIG_HZ")
	cmd.Flags().Uint64Var((*uint64)(&c.now), "now", 0, "the `JIFFIES` of that kernel when the dump was written: see its /proc/timer_list")
	return cmd
}

// importer is an import as the command line asks for it.
type importer struct {
	load           exchange.Load
	control, netns string
	kernel         bool
	dumpOfOther    bool
	hz             uint32
	now            jiffies.Jiffies
}

func (c *importer) run(out io.Writer, files []string) error {
	endBySignals()
	own, err := tables.Clock()
	if err != nil {
		return err
	}
	c.load.Clock = func(moment time.Time) jiffies.Wall {
		if c.dumpOfOther {
			return jiffies.Wall{HZ: c.hz, At: c.now, Time: moment}
		}
		return own
	}
	if err := c.load.Begin(); err != nil {
		return err
	}
	defer c.load.Close()
	progress := exchange.NewProgress(os.Stderr)
	defer progress.End()
	if err := c.read(files, progress); err != nil {
		return err
	}
	body, size, err := c.load.Body()
	if err != nil {
		return err
	}
	if c.load.Count() == 0 {
		_, err := fmt.Fprintln(out, "there is nothing to import")
		return err
	}
	var told bytes.Buffer
	err = control.NewClient(c.control).Import(&told, progress.Of("importing", body, size), size, c.netns)
	progress.End()
	_, failed := told.WriteTo(out)
	return errors.Join(err, failed)
}

// read reads what is to be imported.
func (c *importer) read(files []string, progress *exchange.Progress) error {
	if c.kernel {
		return tables.Kernel(c.netns, func(table string, lines io.Reader) error {
			return c.load.Read(table, progress.Of("reading", lines, 0), time.Now())
		})
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		if err := c.load.ReadFile(name, progress); err != nil {
			return err
		}
	}
	return nil
}
