package daemon

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/capture/nfqueue"
	"recentfs/match/recent"
	"recentfs/match/ruleset"
)

// Config is what a Server is asked for. New checks it.
type Config struct {
	// Params are the parameters. ReadParams reads them again for a reload; without
	// it they stay.
	Params     Params
	ReadParams func() (Params, error)
	// Rules is the file of rules, empty for the built-in example. NetnsRules
	// has other files for single network namespaces, by their names.
	Rules      string
	NetnsRules map[string]string
	// Netns are the network namespaces to serve, as namespaces.Select parses
	// them. If there are none, it is this process's own.
	Netns      []string
	Mountpoint string
	Control    string // the control socket
	// Queue says how much the kernel keeps for each queue.
	Queue nfqueue.Options
	// MaxMemory bounds what all tables may come to need; 0: nothing does.
	MaxMemory Size
	// Helper is the socket of the process that does what needs the privileges of root,
	// or empty where this one has them.
	Helper string
	// LogPackets is one of PacketOutputs, or empty for standard error.
	LogPackets string
	// State is the directory that keeps the tables over restarts and boots, empty
	// for none. Sync is how often they are saved there, and StateKeep how long what
	// was saved of a table without a rule stays.
	State     string
	Sync      time.Duration
	StateKeep time.Duration
	// TakeOver goes on with the mounts and queues of a running recentfs, which ends.
	TakeOver bool
	// ProcNet puts the tables in the place of /proc/net/xt_recent.
	ProcNet bool
}

// rulesOf is the file of a namespace's rules, empty for the example.
func (c *Config) rulesOf(netns string) string {
	if file, ok := c.NetnsRules[netns]; ok {
		return file
	}
	return c.Rules
}

// readRules parses all files of rules, for the parameters p. An error in one of
// them is an error, which has a line for each.
func (c *Config) readRules(p recent.Params) (map[string]*ruleset.File, error) {
	files := make(map[string]*ruleset.File)
	var errs []error
	read := func(file, flag string) {
		if _, done := files[file]; done {
			return
		}
		files[file] = nil
		if file == "-" {
			errs = append(errs, fmt.Errorf("rules: - is standard input, which a reload cannot read again: name a file by %s", flag))
			return
		}
		var err error
		if files[file], err = ReadRules(file, flag, p, func(text string) { logrus.Warn(text) }); err != nil {
			errs = append(errs, err)
		}
	}
	read(c.Rules, "--rules")
	for _, file := range slices.Sorted(maps.Values(c.NetnsRules)) {
		read(file, "--netns-rules")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return files, nil
}

//go:embed example.rules
var exampleRules []byte

// ReadRules parses a file of rules, standard input if file is -, or the built-in
// example if file is empty. flag is the command-line flag that names the file, for
// errors. warn gets what the user should know of a good file.
func ReadRules(file, flag string, p recent.Params, warn func(string)) (*ruleset.File, error) {
	if file == "" {
		return ruleset.Parse("example.rules", exampleRules, p)
	}
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(os.Stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
			return nil, fmt.Errorf("rules: %w: let the user that recentfs runs as read it, or name another file by %s", err, flag)
		}
		return nil, fmt.Errorf("rules: %w: name a file by %s", err, flag)
	}
	rules, err := ruleset.Parse(file, text, p)
	if err != nil {
		return nil, err
	}
	for _, text := range rules.PassedOver() {
		warn(text)
	}
	if len(rules.Queues()) == 0 {
		warn(file + ": no chain gets packets: for those of NFQUEUE --queue-num 0 declare the chain \":QUEUE0 ACCEPT [0:0]\"")
	}
	return rules, nil
}
