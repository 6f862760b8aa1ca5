package house

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxLines is how long a file of cmd/recentfs may be. A longer one does work that
// has its place in a package below.
const maxLines = 150

func TestShortCommands(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.Dir}}{{range .GoFiles}} {{.}}{{end}}`, "recentfs/cmd/recentfs").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dir, files, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if n := len(strings.Fields(files)); n < 3 {
		t.Errorf("go list found %d files: that is too few to check the rule", n)
	}
	for file := range strings.FieldsSeq(files) {
		text, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", file, n, maxLines)
		}
	}
}
