package live

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"recentfs/tests/lab"
)

const oneTable = "*recent\n:QUEUE0 ACCEPT [0:0]\n-A QUEUE0 -m recent --set --name ssh\nCOMMIT\n"

// TestLiveParameters compares the files of the module's parameters with the
// kernel's own: what they are, what they say, and what can be written to them.
func TestLiveParameters(t *testing.T) {
	needKernel(t)
	const kernel = "/sys/module/xt_recent/parameters"
	d := lab.StartDaemon(t, lab.NewNetns(t), oneTable, "--compat", "modern")
	ours := d.Mount + ".module/parameters"
	files, err := os.ReadDir(kernel)
	if err != nil {
		t.Fatal(err)
	}
	note := func(dir string) (notes []string) {
		add := func(what string, args ...any) { notes = append(notes, what+": "+fmt.Sprint(args...)) }
		list, err := os.ReadDir(dir)
		add("listing", list, err)
		for _, f := range files {
			name := f.Name()
			path := filepath.Join(dir, name)
			var st unix.Stat_t
			err := unix.Stat(path, &st)
			add(name, fmt.Sprintf("%#o %d %d %d %d", st.Mode, st.Uid, st.Gid, st.Size, st.Nlink), err)
			text, err := os.ReadFile(path)
			add(name, fmt.Sprintf("%q", text), err)
			for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND, unix.O_RDONLY} {
				fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
				add(fmt.Sprintf("%s open %#x", name, flags), err)
				if err == nil {
					n, err := unix.Pread(fd, make([]byte, 1), 0)
					add(name+" pread", n, err)
					unix.Close(fd)
				}
			}
			if name != "ip_list_uid" && name != "ip_list_gid" {
				continue
			}
			for _, number := range []string{"1000", "1000\n", "1000\n\n", "+7", "++7", "-1", " 5", "5 ", "0x1f", "0X1F", "0x", "017", "08", "0", "00",
				"4294967295", "4294967296", "99999999999999999999", "", "\n", "x", "1_000", "0b1", "0o7", "12\x00", "12\x0034", "0\n"} {
				fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				n, err := unix.Write(fd, []byte(number))
				unix.Close(fd)
				text, _ := os.ReadFile(path)
				add(fmt.Sprintf("%s write %q", name, number), n, err, string(text))
			}
		}
		for _, path := range []string{"new", "ip_list_tot"} {
			add("unlink "+path, unix.Unlink(filepath.Join(dir, path)))
		}
		return notes
	}
	defer os.WriteFile(kernel+"/ip_list_uid", []byte("0"), 0)
	defer os.WriteFile(kernel+"/ip_list_gid", []byte("0"), 0)
	want, got := note(kernel), note(ours)
	for i := range want {
		if want[i] != got[i] {
			t.Errorf("kernel %s\n  ours %s", want[i], got[i])
		}
	}
	t.Logf("%d outcomes compared", len(want))

	// New tables get the new owner, older tables keep theirs.
	if err := os.WriteFile(ours+"/ip_list_uid", []byte("1234\n"), 0); err != nil {
		t.Fatal(err)
	}
	d.SetRules(oneTable[:len(oneTable)-len("COMMIT\n")] + "-A QUEUE0 -m recent --set --name new\nCOMMIT\n")
	d.Must("reload")
	for table, uid := range map[string]uint32{"ssh": 0, "new": 1234} {
		var st unix.Stat_t
		if err := unix.Stat(d.File(table), &st); err != nil || st.Uid != uid {
			t.Errorf("%s belongs to %d, want %d (%v)", table, st.Uid, uid, err)
		}
	}
}
