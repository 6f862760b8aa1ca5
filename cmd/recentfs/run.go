package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/signal"
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
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Decide packets and serve the tables, until SIGTERM or SIGINT",
		Long: `run mounts the tables, binds the queues that the rules name, prints "ready" and
decides packets until SIGTERM or SIGINT. SIGHUP reads the rules again, as
'recentfs reload' does. It stays in the foreground and logs to standard error.

Without --rules it runs the example that 'recentfs check' prints: four new ssh
connections a minute.`,
		Example: `  recentfs run
  recentfs run --rules /etc/recentfs/rules -o ip_list_tot=65536,ip_pkt_list_tot=50
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
			return running(func(*cobra.Command, []string) error { return runDaemon(&c) })(cmd, args)
		},
	}
	params.register(cmd)
	cmd.Flags().StringVarP(&c.rules, "rules", "r", "", "`FILE` of rules, as iptables-save writes them (default: a built-in example)")
	cmd.Flags().StringVarP(&c.mountpoint, "mountpoint", "m", defaultMountpoint, "`DIR` to show the tables in; made if it is not there")
	cmd.Flags().StringVar(&c.control, "control", defaultControl, "`SOCKET` for 'recentfs rules' and 'recentfs reload'")
	cmd.Flags().StringVar(&level, "log-level", "info", "how much to log: error, warn, info or debug")
	return cmd
}

// config is what run was asked for.
type config struct {
	params     recent.Params
	rules      string // a file's name; empty for the example
	mountpoint string
	control    string
}

// readRules parses a file of rules, or the example.
func readRules(file string, p recent.Params) (*ruleset.File, error) {
	if file == "" {
		return ruleset.Parse("example.rules", exampleRules, p)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("rules: %w: name a file by --rules", err)
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

	rules, err := readRules(c.rules, c.params)
	if err != nil {
		return err
	}
	clock, err := jiffies.NewSystem()
	if err != nil {
		return err
	}
	d, err := startServer(c, clock, rules)
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
