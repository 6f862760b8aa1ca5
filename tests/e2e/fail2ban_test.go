package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"recentfs/tests/lab"
)

// TestFail2ban runs Debian's fail2ban under exec, with its own action
// iptables-xt_recent-echo: lines of sshd's log go in, and packets are dropped.
// Only the iptables rule of the action is ours, in a .local file. What the action
// does to files is as Debian ships it.
func TestFail2ban(t *testing.T) {
	const server = "/usr/bin/fail2ban-server"
	if _, err := os.Stat(server); err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	l := lab.NewNetwork(t)
	l.Serve()
	l.Server.Attach(t, "server")
	d := lab.StartDaemon(t, lab.NewNetns(t), "*recent\n:QUEUE0 ACCEPT [0:0]\n"+
		"-A QUEUE0 -m recent --update --seconds 3600 --name f2b-sshd -j DROP\n"+
		"-A QUEUE0 -m recent --update --seconds 3600 --name f2b-sshd6 -j DROP\nCOMMIT\n", "--netns", "server")
	config := fail2banConfig(t, d.Dir)
	auth := filepath.Join(d.Dir, "auth.log")
	socket := filepath.Join(d.Dir, "fail2ban.sock")

	jail := exec.Command(lab.Program(t), "exec", "--mountpoint", d.Mount, "--netns", "server", "--",
		server, "-f", "-c", config, "-s", socket, "-p", filepath.Join(d.Dir, "pid"), "--logtarget", "STDOUT", "start")
	var said lab.Output
	jail.Stdout, jail.Stderr = &said, &said
	if err := l.Client.Start(jail); err != nil { // exec finds the namespace
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- jail.Wait() }()
	defer jail.Process.Kill()
	client := func(args ...string) lab.Outcome {
		return l.Client.Run(t, "/usr/bin/fail2ban-client", append([]string{"-c", config, "-s", socket}, args...)...)
	}
	lab.Eventually(t, "the jail starts", func() error {
		if text := said.String(); !strings.Contains(text, "Jail 'sshd' started") {
			return errors.New(text)
		}
		return nil
	})
	for _, c := range []struct {
		lab.Family
		table, src string
	}{{lab.IPv4, "f2b-sshd", lab.IPv4.Client.String()}, {lab.IPv6, "f2b-sshd6", lab.IPv6.Client.StringExpanded()}} {
		t.Run(c.Name, func(t *testing.T) {
			table := filepath.Join(d.Folder("server"), c.table)
			banned := func(want bool) {
				t.Helper()
				lab.Eventually(t, fmt.Sprintf("banned: %v", want), func() error {
					text, err := os.ReadFile(table)
					if is := strings.HasPrefix(string(text), "src="+c.src+" "); err != nil || is != want {
						return fmt.Errorf("%s: %q, %v\n%s", table, text, err, &said)
					}
					return nil
				})
			}
			l.Passes(lab.TCPProbe, c.Family)
			failedLogins(t, auth, c.Client.String())
			banned(true)
			l.Dropped(lab.TCPProbe, c.Family)
			if got := client("set", "sshd", "unbanip", c.Client.String()); got.Code != 0 {
				t.Errorf("unbanip: %+v", got)
			}
			banned(false)
			l.Passes(lab.TCPProbe, c.Family)
			failedLogins(t, auth, c.Client.String())
			banned(true)
			l.Dropped(lab.TCPProbe, c.Family)
		})
	}
	if got := client("stop"); got.Code != 0 {
		t.Errorf("stop: %+v", got)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("fail2ban: %v\n%s", err, &said)
		}
	case <-time.After(lab.Patience):
		t.Fatalf("fail2ban does not stop:\n%s", &said)
	}
	// The stop has flushed the tables and removed the rule.
	for _, table := range []string{"f2b-sshd", "f2b-sshd6"} {
		if text, err := os.ReadFile(filepath.Join(d.Folder("server"), table)); err != nil || len(text) > 0 {
			t.Errorf("%s after the stop: %q, %v", table, text, err)
		}
	}
	for _, f := range lab.Families {
		if rules := l.Server.Sh(t, f.Tool+"-nft-save"); strings.Contains(rules, "NFQUEUE") {
			t.Errorf("its rule is still there: %s", rules)
		}
		l.Passes(lab.TCPProbe, f)
	}
	if text := said.String(); strings.Contains(text, "ERROR") {
		t.Errorf("fail2ban had an error:\n%s", text)
	}
}

// fail2banConfig copies the package's configuration and adds a jail for sshd, in
// the files that are meant for local changes.
func fail2banConfig(t *testing.T, dir string) string {
	t.Helper()
	config := filepath.Join(dir, "fail2ban")
	err := os.CopyFS(config, os.DirFS("/etc/fail2ban"))
	for name, text := range map[string]string{
		"fail2ban.local": "[Definition]\ndbfile = None\n",
		// Since Debian 13 this jail reads the journal, whatever the default is.
		"jail.local": `[DEFAULT]
bantime = 600
findtime = 600
maxretry = 3
[sshd]
enabled = true
backend = polling
logpath = ` + filepath.Join(dir, "auth.log") + `
action = iptables-xt_recent-echo[name=sshd, port=ssh]
`,
		"action.d/iptables-xt_recent-echo.local": "[Definition]\n_ipt_chain_rule = -p tcp --dport 22 --syn -j NFQUEUE --queue-num 0\n",
		// Debian turns its own jail for sshd on in this file, over the journal.
		"jail.d/defaults-debian.conf": "",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(config, name), []byte(text), 0o644))
	}
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "auth.log"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	return config
}

// sshds counts the sshd processes in the log: fail2ban takes the lines of one
// process for one connection.
var sshds = 4000

// failedLogins appends three failed logins to sshd's log.
func failedLogins(t *testing.T, log, from string) {
	t.Helper()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 3 {
		sshds++
		fmt.Fprintf(f, "%s server sshd[%d]: Failed password for root from %s port %d ssh2\n", time.Now().Format(time.Stamp), sshds, from, 40000+sshds)
	}
}
