package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	buildOnce sync.Once
	program   string // its path; written by buildOnce
	buildErr  error  // written by buildOnce
)

// Plain builds the program without the race detector, whose own memory grows with all
// that the program does. It is set before Main.
var Plain bool

// Program is the path of the program under test. The first call builds it, with
// the race detector unless Plain is set; Main removes it.
func Program(t testing.TB) string {
	t.Helper()
	buildOnce.Do(build)
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return program
}

func build() {
	dir, err := os.MkdirTemp("", "recentfs-bin-")
	if err == nil {
		program = filepath.Join(dir, "recentfs")
		err = os.Chmod(dir, 0o755) // tests run the program as other users too
	}
	if err != nil {
		buildErr = fmt.Errorf("a directory for the program: %w", err)
		return
	}
	cmd := exec.Command("go", "build", fmt.Sprintf("-race=%t", !Plain), "-buildvcs=false",
		"-ldflags", "-X main.version=v0.0-test", "-o", program, "recentfs/cmd/recentfs")
	if out, err := cmd.CombinedOutput(); err != nil {
		buildErr = fmt.Errorf("%v: %w\n%s", cmd, err, out)
	}
}

func removeProgram() {
	if program != "" {
		os.RemoveAll(filepath.Dir(program))
	}
}
