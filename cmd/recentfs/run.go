package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/daemon"
	"recentfs/cmd/recentfs/internal/service"
)

func runCommand() *cobra.Command {
	var params paramFlags
	var overload overloadFlags
	var c daemon.Config
	var level string
	var netnsRules []string
	var keep bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Decide packets and serve the tables, until SIGTERM or SIGINT",
		Long: `run mounts the tables, binds the queues that the rules name, prints "ready" and
decides packets until SIGTERM or SIGINT. SIGHUP reads the rules and the file of
--modprobe-conf again, as 'recentfs reload' does. It stays in the foreground and
logs to standard error.

Without --rules it runs the example that 'recentfs check' prints: four new ssh
connections a minute.

It serves the network namespace that it runs in. With --netns it serves those
that are named, each with tables, queues and counters of its own: NAME as in
'ip netns list', a PATH, the PID of a process, or 'all', which is every name of
'ip netns list' and, as 'host', its own. They may come and go. The mount then
holds ns/NAME/TABLE, and 'self' leads each process to its own namespace's.

With --proc-net, /proc/net/xt_recent leads to the tables for the whole machine,
until recentfs ends. 'recentfs exec' does the same for one command.

With --state, the tables outlive recentfs. As it runs they are in the directory
"live" beside the control socket, which must be in memory: what is there outlives
a crash. They are saved in DIR every --sync, and at the end: that outlives a boot.

With --state, queues and mounts outlive it too, where somebody holds them: systemd
for the service, or a parent with --keep. After a crash, or SIGUSR2, the next one goes
on with the packets, files and mounts as they are. 'recentfs run --takeover' takes
them from a recentfs that runs.

The kernel drops a packet that finds its queue full, or accepts it with
--on-overload accept, before any rule sees it. --max-memory refuses tables that could
take more.

Each flag but --keep and --takeover can also be a variable of the environment:
--queue-length is RECENTFS_QUEUE_LENGTH.`,
		Example: `  recentfs run
  recentfs run --rules /etc/recentfs/rules -o ip_list_tot=65536,ip_pkt_list_tot=50
  recentfs run --netns all --netns-rules dmz=/etc/recentfs/dmz.rules --proc-net
  recentfs run --state /var/lib/recentfs --keep
  recentfs run --compat modern --modprobe-conf /etc/modprobe.d/xt_recent.conf`,
		RunE: func(cmd *cobra.Command, args []string) error {
			lvl, err := logrus.ParseLevel(level)
			if err != nil {
				return fmt.Errorf("--log-level %s: it is error, warn, info or debug", level)
			}
			logrus.SetLevel(lvl)
			if !slices.Contains(daemon.PacketOutputs, c.LogPackets) {
				return fmt.Errorf("--log-packets %s: it is stderr, kmsg or syslog", c.LogPackets)
			}
			if err := overload.set(&c); err != nil {
				return err
			}
			c.ReadParams = params.read
			if c.Params, err = params.read(); err != nil {
				return err
			}
			if c.NetnsRules, err = parseNetnsRules(netnsRules); err != nil {
				return err
			}
			if len(netnsRules) > 0 && len(c.Netns) == 0 {
				return fmt.Errorf("--netns-rules %s: it goes with --netns", netnsRules[0])
			}
			if c.Sync < time.Second {
				return fmt.Errorf("--sync %v: 1s or more is needed", c.Sync)
			}
			if c.StateKeep < 0 {
				return fmt.Errorf("--state-keep %v: it is 0 or more", c.StateKeep)
			}
			if (keep || c.TakeOver) && c.State == "" {
				return errors.New("--keep and --takeover go with --state DIR, where the tables outlive recentfs")
			}
			return asRunError(func(*cobra.Command, []string) error {
				if err := service.Shed(c.Helper != ""); err != nil {
					return err
				}
				if keep {
					return keepRunning()
				}
				return runDaemon(c)
			})(cmd, args)
		},
	}
	params.register(cmd)
	overload.register(cmd)
	cmd.Flags().StringVarP(&c.Rules, "rules", "r", "", "`FILE` of rules, as iptables-save writes them (default: a built-in example)")
	cmd.Flags().StringVarP(&c.Mountpoint, "mountpoint", "m", defaultMountpoint, "`DIR` to show the tables in; made if it is not there")
	cmd.Flags().StringVar(&c.Helper, "helper", "", "`SOCKET` of 'recentfs mount-helper', to run without the privileges of root")
	cmd.Flags().StringVar(&c.Control, "control", defaultControl, "`SOCKET` for 'recentfs rules' and 'recentfs reload'")
	cmd.Flags().StringArrayVar(&c.Netns, "netns", nil, "network `NAMESPACE` to serve, by name, path or process id, or 'all'; repeatable")
	cmd.Flags().StringArrayVar(&netnsRules, "netns-rules", nil, "`NAME=FILE` of rules for one of several namespaces; repeatable")
	cmd.Flags().StringVar(&c.State, "state", "", "`DIR` that keeps the tables over restarts and boots (default: they end with recentfs)")
	cmd.Flags().DurationVar(&c.Sync, "sync", 30*time.Second, "how often --state saves the tables on the disk")
	cmd.Flags().DurationVar(&c.StateKeep, "state-keep", 30*24*time.Hour, "how long --state keeps a table that no rule names any more")
	cmd.Flags().BoolVar(&keep, "keep", false, "run in a process that holds queues and mounts, and starts recentfs again when it dies; for use without systemd")
	cmd.Flags().BoolVar(&c.TakeOver, "takeover", false, "go on with the queues and mounts of a running recentfs, which ends")
	cmd.Flags().BoolVar(&c.ProcNet, "proc-net", false, "put the tables in the place of /proc/net/xt_recent, for the whole machine (Linux 5.2)")
	cmd.Flags().StringVar(&level, "log-level", "info", "how much to log: error, warn, info or debug")
	cmd.Flags().StringVar(&c.LogPackets, "log-packets", "stderr", "where LOG targets write to: stderr, kmsg (the kernel's log) or syslog")
	return fromEnvironment(cmd)
}
