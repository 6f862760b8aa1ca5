// Recentfs is the kernel's xt_recent in user space: packets come from netfilter
// queues, rules match them against tables of recently seen addresses, and a
// mount shows the tables as files.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/enter"
)

// The main goroutine stays on the main thread: the program of enter.Exec keeps only
// that thread's parent death signal.
func init() { runtime.LockOSThread() }

func main() { os.Exit(run(os.Args[1:])) }

// The exit statuses beside 0.
const (
	exitFailure = 1
	exitUsage   = 2
)

// run carries out a command line and returns the exit status.
func run(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		return 0
	}
	if !errors.As(err, new(runError)) {
		text := strings.ReplaceAll(err.Error(), "\n", "; ")
		fmt.Fprintf(os.Stderr, "%s: %s (see '%s --help')\n", cmd.CommandPath(), text, cmd.CommandPath())
		return exitUsage
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", cmd.CommandPath(), line)
	}
	if cannotRun := new(enter.StatusError); errors.As(err, &cannotRun) {
		return cannotRun.Status
	}
	return exitFailure
}

// runError is the error of a command that has begun to work. Every other error
// is one of the command line.
type runError struct{ error }

func (e runError) Unwrap() error { return e.error }

// asRunError makes a cobra RunE of a function whose errors are runErrors.
func asRunError(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := do(cmd, args); err != nil {
			return runError{err}
		}
		return nil
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "recentfs",
		Short: "iptables -m recent in user space, its tables as files",
		Long: `recentfs is the kernel's xt_recent (iptables -m recent) as a program: packets
come in through NFQUEUE, rules match them against tables of recently seen
addresses, and a mount shows every table as a file that reads and writes as
/proc/net/xt_recent/NAME does.`,
		Example: `  recentfs run --rules /etc/recentfs/rules
  iptables -t mangle -A INPUT -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0 --queue-bypass
  cat /run/recentfs/xt_recent/SSH
  echo +192.0.2.1 > /run/recentfs/xt_recent/SSH`,
		Version:       versionLine(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(explainFlagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), checkCommand(), rulesCommand(), reloadCommand(), saveCommand(), replayCommand(),
		execCommand(), showCommand(), addCommand(), delCommand(), flushCommand(), exportCommand(), importCommand(), mountHelperCommand(), versionCommand())
	repairHelp(root)
	checkUsage(root)
	return root
}
