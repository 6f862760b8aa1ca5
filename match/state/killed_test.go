package state

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
	"recentfs/tests/lab"
)

// killedEnv is the directory of a process that is to be killed: TestKilled.
const killedEnv = "RECENTFS_TEST_KILLED"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedEnv); dir != "" {
		toBeKilled(dir)
	}
	if dir := os.Getenv(nextEnv); dir != "" {
		next(dir)
		return
	}
	os.Exit(m.Run())
}

func killedParams() recent.Params {
	p := recent.DefaultParams(recent.Classic)
	p.ListTot, p.PktListTot = 50, 3
	return p
}

// operate does the n-th operation of all, at the time n.
func operate(h *host, n uint64) {
	h.time.Set(jiffies.Jiffies(n))
	random := rand.New(rand.NewPCG(n, 0))
	address := fmt.Sprintf("192.0.2.%d", random.IntN(60))
	text := "+" + address
	switch random.IntN(100) {
	case 0:
		text = "/"
	case 1, 2, 3, 4, 5:
		text = "-" + address
	}
	if _, _, err := h.Table("t").Write([]byte(text), 0); err != nil {
		panic(err)
	}
}

// toBeKilled goes on with the operations, and says of each that it is done.
func toBeKilled(dir string) {
	n, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil {
		panic(err)
	}
	h := start(nil, dir, 0, killedParams(), recent.Info{Name: "t"})
	for ; ; n++ {
		operate(h, n)
		fmt.Println(n)
	}
}

// TestKilled kills a process in the middle of its operations, at random moments.
// The next process finds the table as it was after the last operation that was
// said to be done, or after the one that followed.
func TestKilled(t *testing.T) {
	dir := memoryDir(t)
	model := start(t, memoryDir(t), 0, killedParams(), recent.Info{Name: "t"}) // never killed
	defer model.stop()
	last := uint64(0) // the operations that the model has done
	for range lab.Soak(50, 1000) {
		c := exec.Command("/proc/self/exe", fmt.Sprint(last+1))
		c.Env = append(os.Environ(), killedEnv+"="+dir)
		c.Stderr = os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // it is at work
		kill := time.AfterFunc(time.Duration(rand.IntN(int(5*time.Millisecond))), func() { _ = c.Process.Kill() })
		said := last
		for more := true; more; more = lines.Scan() {
			if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				said = n
			}
		}
		kill.Stop()
		_ = c.Process.Kill()
		_ = c.Wait()
		for ; last < said; last++ {
			operate(model, last+1)
		}
		next := start(t, dir, 0, killedParams(), recent.Info{Name: "t"})
		got := next.lines("t")
		if got != model.lines("t") { // the operation that followed was done too
			last++
			operate(model, last)
		}
		if want := model.lines("t"); got != want {
			t.Fatalf("after %d operations, of which %d were said to be done, the table holds\n%s, want\n%s", last, said, got, want)
		}
		if len(next.warnings) > 0 {
			t.Fatalf("warnings %q", next.warnings)
		}
		next.stop()
	}
	t.Logf("%d operations", last)
}
