package fs

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"recentfs/match/recent"
	"recentfs/tests/lab"
)

var stamped = regexp.MustCompile(`^src=(\S+) .* oldest_pkt: (\d+)`)

// brief is what a script has printed: of the lines of a table the address and the
// number of stamps, of an error its cause.
func brief(text string) string {
	var all []string
	for line := range strings.Lines(text) {
		if m := stamped.FindStringSubmatch(line); m != nil {
			line = m[1] + "*" + m[2]
		}
		parts := strings.Split(strings.TrimSpace(line), ": ")
		all = append(all, parts[len(parts)-1])
	}
	return strings.Join(all, " ")
}

// TestKilledAtRequest kills a server at a request that it has taken and not answered,
// and then the next one at the same request. The third one answers it, and nothing was
// done twice.
func TestKilledAtRequest(t *testing.T) {
	for _, c := range []struct {
		at     string
		before string // is run before
		script string // is at work when the server is killed
		want   string // is printed by it
		after  string // is run then
		then   string // is printed by that
	}{
		{at: "before OPEN", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "after OPEN", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "before WRITE", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "after WRITE", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "after WRITE", before: "echo +192.0.2.1 > a", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*2"},
		{at: "after WRITE", before: "echo +192.0.2.1 > a", script: "echo -192.0.2.1 > a", after: "cat a"},
		{at: "after WRITE", before: "echo +192.0.2.1 > a; exec 3<>a", script: "echo / >&3", after: "echo +192.0.2.2 >&3; cat a", then: "192.0.2.2*1"},
		{at: "after WRITE", before: "exec 3>a", script: "echo +192.0.2.1 >&3", after: "echo +192.0.2.2 >&3; cat a",
			then: "I/O error 192.0.2.1*1"}, // as without a kill
		{at: "after WRITE", script: "echo nonsense > a", want: "I/O error", after: "cat a"},
		{at: "before RELEASE", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "after RELEASE", script: "echo +192.0.2.1 > a", after: "cat a", then: "192.0.2.1*1"},
		{at: "before READ", before: "echo +192.0.2.1 > a", script: "cat a", want: "192.0.2.1*1"},
		{at: "after READ", before: "echo +192.0.2.1 > a", script: "cat a", want: "192.0.2.1*1"},
		{at: "after READ", before: "echo +192.0.2.1 > a; exec 3<>a; echo / > a; echo / >&3; echo +192.0.2.2 > a", script: "cat <&3", want: "192.0.2.2*1"},
		{at: "after SETATTR", script: "chmod 600 a", after: "stat -c %a a", then: "600"},
	} {
		t.Run(c.at+" of "+c.script, func(t *testing.T) {
			h := newHolder(t, "a")
			s := h.session()
			s.do(c.before)
			h.leave()
			for n := range 2 {
				h.start(c.at)
				switch said := h.ready(); {
				case n == 0 && said == "ready":
					s.begin(c.script)
				case n == 0 || said != "ready" && said != "": // it may be killed before it says so
					t.Fatalf("the server says %q", said)
				}
				if err := h.server.Wait(); err == nil || err.Error() != "signal: killed" {
					t.Fatalf("the server was to be killed: %v", err)
				}
			}
			h.next()
			if got := brief(s.end()); got != c.want {
				t.Errorf("%s: %q, want %q", c.script, got, c.want)
			}
			if got := brief(s.do(c.after)); got != c.then {
				t.Errorf("%s: %q, want %q", c.after, got, c.then)
			}
		})
	}
}

// TestNewTables has servers with other tables and folders than the ones before. What
// stays is the same for programs, what goes is gone.
func TestNewTables(t *testing.T) {
	type step struct{ script, want string }
	for _, c := range []struct {
		name, first, second string
		before, after       []step
	}{
		{"a table goes", "a b", "b",
			[]step{{"echo +192.0.2.1 > a; exec 3<a 4>a 5<b; stat a > /dev/null", ""}},
			[]step{{"stat a", "No such file or directory"}, {"dd status=none <&3", "Input/output error"}, {"echo / >&4", "I/O error"}, {"cat <&5", ""}, {"ls", "b"}}},
		{"a table goes that nobody has open", "a b", "b", []step{{"stat a > /dev/null; stat a > /dev/null", ""}}, []step{{"stat a", "No such file or directory"}}},
		{"a table goes and another comes", "a b", "a c",
			[]step{{"echo +192.0.2.1 > a; exec 3<a 4<b", ""}},
			[]step{{"echo +192.0.2.2 > c; dd status=none <&4", "Input/output error"}, {"cat <&3", "192.0.2.1*1"}, {"cat c", "192.0.2.2*1"}, {"cat b", "No such file or directory"}}},
		{"folders", "red/a red/b blue/a", "blue/a green/a red/a",
			[]step{{"cd ns; echo +192.0.2.1 > red/a; echo +192.0.2.2 > blue/a; exec 3<red/a 4<blue/a 5<red/b; chmod 700 red", ""}},
			[]step{{"cat <&3", "192.0.2.1*1"}, {"cat <&4", "192.0.2.2*1"}, {"cat red/a", "192.0.2.1*1"}, {"dd status=none <&5", "Input/output error"},
				{"cat red/b", "No such file or directory"}, {"stat -c %a red blue", "700 555"}, {"ls", "blue green red"}}},
		{"a folder goes", "red/a blue/a", "blue/a",
			[]step{{"cd ns; exec 3<red/a 4<blue/a; stat red red/a > /dev/null", ""}},
			[]step{{"stat red", "No such file or directory"}, {"dd status=none <&3", "Input/output error"}, {"cat <&4", ""}, {"ls", "blue"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHolder(t, c.first)
			s := h.session()
			run := func(steps []step) {
				t.Helper()
				for _, step := range steps {
					if got := brief(s.do(step.script)); got != step.want {
						t.Errorf("%s: %q, want %q", step.script, got, step.want)
					}
				}
			}
			run(c.before)
			h.kill()
			h.tables = c.second
			h.next()
			run(c.after)
		})
	}
}

// flags2At is where in a connection's memory fuse.InitIn.Flags2 is.
const flags2At = 40 + 56

// TestWithoutResend kills a server where the kernel does not send requests again, as
// before Linux 6.9. Who waits gets an error, once.
func TestWithoutResend(t *testing.T) {
	for _, at := range []string{"after READ", "before WRITE"} {
		t.Run(at, func(t *testing.T) {
			h := newHolder(t, "a")
			s := h.session()
			s.do("echo +192.0.2.1 > a; exec 3<a 4>a")
			h.leave()
			h.start(at)
			if said := h.ready(); said != "ready" {
				t.Fatalf("the server says %q", said)
			}
			script, want := "dd status=none <&3", "Input/output error"
			if at == "before WRITE" {
				script, want = "echo +192.0.2.2 >&4", "I/O error"
			}
			s.begin(script)
			_ = h.server.Wait()
			h.patch(flags2At, make([]byte, 4))
			h.next()
			if got := brief(s.end()); got != want {
				t.Errorf("%s: %q, want %q", script, got, want)
			}
			if got := brief(s.do("cat <&3; cat a")); got != "192.0.2.1*1 192.0.2.1*1" {
				t.Errorf("then the table shows %q", got)
			}
		})
	}
}

// TestModuleOutlives has the module's mount go on in another process, as it were.
func TestModuleOutlives(t *testing.T) {
	lab.NeedRoot(t)
	dir := filepath.Join(lab.TempDir(t), "xt_recent.module")
	p := recent.DefaultParams(recent.Modern)
	shown := Module{Params: func() recent.Params { return p }, Self: func(uint32) string { return "/" }}
	first, err := Mounter{Keep: true}.MountModule(dir, shown)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, parametersName, "ip_list_tot")
	before := shell("/", 0, "stat -c '%i %Y %z' "+file)
	files, err := first.Files()
	if err := errors.Join(err, first.Leave(), first.Unmount()); err != nil {
		t.Fatal(err)
	}
	p.ListTot = 77
	second, err := Mounter{Keep: true, Left: files}.MountModule(dir, shown)
	if err != nil || second.Anew() != nil {
		t.Fatal(err, second.Anew())
	}
	t.Cleanup(func() {
		if err := second.Unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := second.Answer(); err != nil {
		t.Fatal(err)
	}
	if after := shell("/", 0, "stat -c '%i %Y %z' "+file); after != before {
		t.Errorf("the file was %s, and is %s", before, after)
	}
	if got := shell("/", 0, "cat "+file); got != "77\n" {
		t.Errorf("the parameter is %q", got)
	}
}
