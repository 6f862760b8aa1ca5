package main

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

//go:embed example.rules
var exampleRules []byte

func runCommand() *cobra.Command {
	var params paramFlags
	var c config
	var level string
	var netnsRules []string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Decide packets and serve the tables, until SIGTERM or SIGINT",
		Long: `run mounts the tables, binds the queues that the rules name, prints "ready" and
decides packets until SIGTERM or SIGINT. SIGHUP reads the rules again, as
'recentfs reload' does. It stays in the foreground and logs to standard error.

Without --rules it runs the example that 'recentfs check' prints: four new ssh
connections a minute.

It serves the network namespace that it runs in. With --netns it serves those
that are named, each with tables, queues and counters of its own: NAME as in
'ip netns list', a PATH, the PID of a process, or 'all', which is every name of
'ip netns list' and, as 'host', its own. They may come and go. The mount then
holds ns/NAME/TABLE, and 'self' leads each process to its own namespace's.

With --proc-net, /proc/net/xt_recent leads to the tables for the whole machine,
until recentfs ends. 'recentfs exec' does the same for one command.`,
		Example: `  recentfs run
  recentfs run --rules /etc/recentfs/rules -o ip_list_tot=65536,ip_pkt_list_tot=50
  recentfs run --netns all --netns-rules dmz=/etc/recentfs/dmz.rules --proc-net
  recentfs run --compat modern --modprobe-conf /etc/modprobe.d/xt_recent.conf`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			lvl, err := logrus.ParseLevel(level)
			if err != nil {
				return fmt.Errorf("--log-level %s: it is error, warn, info or debug", level)
			}
			logrus.SetLevel(lvl)
			if c.params, err = params.params(); err != nil {
				return err
			}
			if err := c.setNetnsRules(netnsRules); err != nil {
				return err
			}
			return running(func(*cobra.Command, []string) error { return runDaemon(&c) })(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&c.rules, "rules", "r", "", "`FILE` of rules, as iptables-save writes them (default: a built-in example)")
	cmd.Flags().StringVarP(&c.mountpoint, "mountpoint", "m", defaultMountpoint, "`DIR` to show the tables in; made if it is not there")
	cmd.Flags().StringVar(&c.control, "control", defaultControl, "`SOCKET` for 'recentfs rules' and 'recentfs reload'")
	cmd.Flags().StringArrayVar(&c.netns, "netns", nil, "network `NAMESPACE` to serve, by name, path or process id, or 'all'; repeatable")
	cmd.Flags().StringArrayVar(&netnsRules, "netns-rules", nil, "`NAME=FILE` of rules for one of several namespaces; repeatable")
	cmd.Flags().BoolVar(&c.procNet, "proc-net", false, "put the tables in the place of /proc/net/xt_recent, for the whole machine (Linux 5.2)")
	cmd.Flags().StringVar(&level, "log-level", "info", "how much to log: error, warn, info or debug")
	return cmd
}

// config is what run was asked for.
type config struct {
	params     recent.Params
	rules      string // a file's name; empty for the example
	mountpoint string
	control    string
	netns      []string          // as namespaces.Select reads them; none for this process's own
	netnsRules map[string]string // files of rules, by the name of a namespace
	procNet    bool
}

// setNetnsRules reads NAME=FILE of --netns-rules.
func (c *config) setNetnsRules(pairs []string) error {
	c.netnsRules = make(map[string]string)
	for _, pair := range pairs {
		name, file, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "" || file == "":
			return fmt.Errorf("--netns-rules %s: NAME=FILE is needed, as in --netns-rules dmz=/etc/recentfs/dmz.rules", pair)
		case c.netnsRules[name] != "":
			return fmt.Errorf("--netns-rules %s: there is a file for %s already", pair, name)
		case len(c.netns) == 0:
			return fmt.Errorf("--netns-rules %s: it goes with --netns", pair)
		}
		c.netnsRules[name] = file
	}
	return nil
}

// module is the directory that shows the module's parameters.
func (c *config) module() string { return moduleDir(c.mountpoint) }

func moduleDir(mountpoint string) string { return filepath.Clean(mountpoint) + ".module" }

// rulesOf is the file of a namespace's rules; empty for the example.
func (c *config) rulesOf(netns string) string {
	if file, ok := c.netnsRules[netns]; ok {
		return file
	}
	return c.rules
}

// readRules parses all files of rules, or none.
func (c *config) readRules() (map[string]*ruleset.File, error) {
	files := make(map[string]*ruleset.File)
	read := func(file, flag string) (err error) {
		if files[file] == nil {
			files[file], err = readRules(file, flag, c.params)
		}
		return err
	}
	if err := read(c.rules, "--rules"); err != nil {
		return nil, err
	}
	for _, file := range slices.Sorted(maps.Values(c.netnsRules)) {
		if err := read(file, "--netns-rules"); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readRules parses a file of rules, which a flag names, or the example.
func readRules(file, flag string, p recent.Params) (*ruleset.File, error) {
	if file == "" {
		return ruleset.Parse("example.rules", exampleRules, p)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("rules: %w: name a file by %s", err, flag)
	}
	return ruleset.Parse(file, text, p)
}

// runDaemon runs from the start to the signal that ends it.
func runDaemon(c *config) error {
	// Who reads our output may go; that is no reason to leave a mount behind.
	signal.Ignore(syscall.SIGPIPE)
	log := newLogWriter(os.Stderr)
	logrus.SetOutput(log)
	defer log.close()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	files, err := c.readRules()
	if err != nil {
		return err
	}
	clock, err := jiffies.NewSystem()
	if err != nil {
		return err
	}
	d, err := startServer(c, clock, files)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	notify(daemon.SdNotifyReady)
	err = d.serve(signals)
	notify(daemon.SdNotifyStopping)
	if stopErr := d.stop(); err == nil {
		err = stopErr
	}
	return err
}

// notify tells systemd, where it listens.
func notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		logrus.WithError(err).Warn("systemd was not told: " + state)
	}
}
