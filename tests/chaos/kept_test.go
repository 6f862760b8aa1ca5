package chaos

import (
	"fmt"
	"testing"
)

// TestKeptDescriptors takes the permissions of a file away while another user has it
// open. What is open goes on, and a new open is refused. It is the same with the
// kernel's file, where the kernel has one.
func TestKeptDescriptors(t *testing.T) {
	for _, c := range []struct{ name, take, want string }{
		{"chmod 000", "chmod 0 open", "read 0, write 0, open to read 2, to write 2"},
		{"chmod 444", "chmod 444 open", "read 0, write 0, open to read 0, to write 2"},
		{"chown", "chown 1:1 open; chmod 600 open", "read 0, write 0, open to read 2, to write 2"},
		{"a group's", "chown 1:1 open; chmod 646 open", "read 0, write 0, open to read 0, to write 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := startWorld(t)
			dirs := []string{w.d.Mount}
			if w.d.NS.Run(t, "iptables-legacy", "-w", "-A", "INPUT", "-p", "253", "-m", "recent", "--name", "open", "--rcheck").Code == 0 {
				dirs = append(dirs, "/proc/net/xt_recent")
				w.d.NS.Sh(t, "chmod 666 /proc/net/xt_recent/open")
			}
			for _, dir := range dirs {
				p := w.startAs(nobody, "sh", "-c", `cd $0
exec 3< open 4> open
echo ready
while ! test -e $1; do sleep 0.01; done
echo +192.0.2.1 >&4; write=$?
cat <&3 > /dev/null; read=$?
(exec 5< open) 2> /dev/null; reads=$?
(exec 5> open) 2> /dev/null; writes=$?
echo read $read, write $write, open to read $reads, to write $writes`, dir, w.d.Dir+"/taken")
				w.begun(p)
				w.d.NS.Sh(t, fmt.Sprintf("cd %s; %s; touch %s/taken", dir, c.take, w.d.Dir))
				if got := w.ends(p); got != "ready\n"+c.want+"\n" {
					t.Errorf("%s: %s, want %s", dir, got, c.want)
				}
				w.d.NS.Sh(t, "rm "+w.d.Dir+"/taken")
			}
			if len(dirs) < 2 {
				t.Log("this kernel has no xt_recent to compare with")
			}
			w.end()
		})
	}
}
