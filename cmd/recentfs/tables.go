package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/report"
	"recentfs/fs"
	"recentfs/match/jiffies"
)

// The commands of this file go through the mount's files, as cat and echo do,
// so that the files' permissions rule. They work on /proc/net/xt_recent too.

func mountpointFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVarP(dir, "mountpoint", "m", defaultMountpoint, "`DIR` that shows the tables")
}

// tablesFlags say where tables are.
type tablesFlags struct{ mountpoint, netns string }

func (f *tablesFlags) register(cmd *cobra.Command) {
	mountpointFlag(cmd, &f.mountpoint)
	cmd.Flags().StringVar(&f.netns, "netns", "", "`NAME` of the network namespace, where recentfs serves several (default: that of the caller)")
}

// dir is the directory of the tables.
func (f *tablesFlags) dir() string {
	if f.netns != "" {
		return filepath.Join(f.mountpoint, fs.FolderPath(f.netns))
	}
	if _, err := os.Readlink(filepath.Join(f.mountpoint, fs.SelfName)); err == nil {
		return filepath.Join(f.mountpoint, fs.SelfName)
	}
	return f.mountpoint
}

func showCommand() *cobra.Command {
	var flags tablesFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [TABLE]",
		Short: "Print the addresses of a table, or of all",
		Long: `show prints each address of a table with the number of its hits, when it was
first and last seen, and its ttl; the latest seen comes first. Of the hits a
table remembers the last ip_pkt_list_tot, and of these the first is shown.
Users other than root may see times that are off by a fraction of a second,
since only root may read where the kernel's clock began.`,
		Example: "  recentfs show SSH\n  recentfs show --json | jq '.SSH[].address'",
		Args:    cobra.MaximumNArgs(1),
		RunE: running(func(cmd *cobra.Command, args []string) error {
			all := len(args) == 0
			if all {
				var err error
				if args, err = tableNames(flags.dir()); err != nil {
					return err
				}
			}
			tables := make(map[string][]report.Entry)
			for _, name := range args {
				entries, err := showTable(flags.dir(), name)
				if err != nil && all {
					// One that is not for this user, or gone by now, is no
					// reason to keep the others back.
					fmt.Fprintln(cmd.ErrOrStderr(), err)
					continue
				}
				if err != nil {
					return err
				}
				tables[name] = entries
				if asJSON {
					continue
				}
				if err := report.Print(cmd.OutOrStdout(), name, entries); err != nil {
					return err
				}
			}
			if asJSON {
				return report.WriteJSON(cmd.OutOrStdout(), tables)
			}
			return nil
		}),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: an object of tables, each a list of addresses")
	return cmd
}

// tableNames lists the tables that a mount shows.
func tableNames(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, explain(err, dir, "")
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names, nil
}

func showTable(dir, name string) ([]report.Entry, error) {
	f, err := openTable(dir, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	clock, err := jiffies.NewSystem()
	if err != nil {
		return nil, err
	}
	entries, err := report.Read(f, report.Moment{Now: clock.Now(), HZ: clock.HZ(), Wall: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return entries, nil
}

// openTable opens a table's file.
func openTable(dir, name string, flag int) (*os.File, error) {
	if name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is no table's name", name)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), flag, 0)
	if err != nil {
		return nil, explain(err, dir, name)
	}
	return f, nil
}

// explain says why a table or the directory of all could not be opened.
func explain(err error, dir, name string) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: permission denied: its owner or root may, see ip_list_uid, ip_list_gid and ip_list_perms", filepath.Join(dir, name))
	case errors.Is(err, syscall.ENOTCONN):
		return fmt.Errorf("%s: the recentfs that served it is gone: start one with 'recentfs run'", dir)
	case errors.Is(err, os.ErrNotExist) && filepath.Base(dir) == fs.SelfName && !isThere(dir):
		return fmt.Errorf("%s: this network namespace has no tables: name one that has by --netns, or serve it by 'recentfs run --netns'", dir)
	case errors.Is(err, os.ErrNotExist) && strings.HasSuffix(dir, "/"+fs.FolderPath(filepath.Base(dir))) && !isThere(dir):
		return fmt.Errorf("%s: network namespace %s is not served there: see 'ls %s'", dir, filepath.Base(dir), filepath.Dir(dir))
	case errors.Is(err, os.ErrNotExist):
		if files, dirErr := os.ReadDir(dir); dirErr == nil {
			return fmt.Errorf("%s has no table %q among its %d: a table is there as long as a rule names it, see 'recentfs show'", dir, name, len(files))
		}
		return fmt.Errorf("%s: there are no tables: start 'recentfs run', or name its --mountpoint", dir)
	}
	return err
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func addCommand() *cobra.Command {
	return addressesCommand("add", "+", "Add a stamp to addresses", "  recentfs add SSH 192.0.2.1 2001:db8::1")
}

func delCommand() *cobra.Command {
	return addressesCommand("del", "-", "Remove addresses", "  recentfs del SSH 192.0.2.1")
}

func addressesCommand(use, sign, short, example string) *cobra.Command {
	var flags tablesFlags
	cmd := &cobra.Command{
		Use:     use + " TABLE IP...",
		Short:   short,
		Long:    short + fmt.Sprintf(" by writing %sIP to the table's file.", sign),
		Example: example,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var lines []string
			for _, arg := range args[1:] {
				a, err := netip.ParseAddr(arg)
				if err != nil || a.Zone() != "" {
					return fmt.Errorf("%q is no address: an IPv4 or IPv6 address without a prefix length or zone is needed", arg)
				}
				// In full, since the file takes no more than 41 bytes.
				lines = append(lines, sign+a.StringExpanded())
			}
			return running(func(*cobra.Command, []string) error { return writeTable(flags.dir(), args[0], lines) })(cmd, args)
		},
	}
	flags.register(cmd)
	return cmd
}

func flushCommand() *cobra.Command {
	var flags tablesFlags
	cmd := &cobra.Command{
		Use:     "flush TABLE",
		Short:   "Remove all addresses of a table",
		Long:    "Remove all addresses of a table by writing / to its file.",
		Example: "  recentfs flush SSH",
		Args:    cobra.ExactArgs(1),
		RunE: running(func(_ *cobra.Command, args []string) error {
			return writeTable(flags.dir(), args[0], []string{"/"})
		}),
	}
	flags.register(cmd)
	return cmd
}

// writeTable writes each line to a table's file, at its start as the module
// wants it.
func writeTable(dir, name string, lines []string) error {
	f, err := openTable(dir, name, os.O_WRONLY)
	if err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := f.WriteAt([]byte(line), 0); err != nil {
			f.Close()
			return fmt.Errorf("%s: %s was not taken: %w", f.Name(), line, errors.Unwrap(err))
		}
	}
	return f.Close()
}
