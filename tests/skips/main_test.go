package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFilter runs real tests: the go command's own events are what counts.
func TestFilter(t *testing.T) {
	for _, c := range []struct {
		name, tests string
		ok          bool
		want        string // times are T
	}{
		{"all pass", `func TestA(t *testing.T) { t.Log("a word") }`, true,
			"ok  \tm\tT\nno case was skipped\n"},
		{"one fails", "func TestA(t *testing.T) { t.Log(\"a word\") }\nfunc TestB(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Error(\"a fault\") }) }", false,
			"# m\n    a_test.go:4: a fault\n--- FAIL: TestB/x (T)\n--- FAIL: TestB (T)\nFAIL\nFAIL\tm\tT\nno case was skipped\n"},
		{"skipped", "func TestA(t *testing.T) { t.Skip(\"no\\nmoon\") }\nfunc TestB(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Log(\"no\\nmoon\"); t.SkipNow() }) }", true,
			"ok  \tm\tT\n2 cases skipped: no\n        moon\n\tm TestA\n\tm TestB/x\n"},
		{"ends early", "func TestA(t *testing.T) { println(\"last word\"); os.Exit(3) }", false,
			"# m\nlast word\nFAIL\tm\tT\nno case was skipped\n"},
		{"does not compile", "func TestA(t *testing.T) { x }", false,
			"# m [m.test]\n./a_test.go:3:28: undefined: x\nFAIL\tm [build failed]\nno case was skipped\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			imports := `import "testing"; `
			if strings.Contains(c.tests, "os.") {
				imports += `import "os"; `
			}
			for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "a_test.go": "package m\n" + imports + "\n" + c.tests} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("go", "test", "-json", "-vet=off", ".")
			cmd.Dir = dir
			events, _ := cmd.CombinedOutput() // it fails where the tests do
			var out bytes.Buffer
			ok, err := filter(bytes.NewReader(events), &out)
			if err != nil {
				t.Fatal(err)
			}
			got := regexp.MustCompile(`\d+\.\d+s`).ReplaceAllString(out.String(), "T")
			if ok != c.ok || got != c.want {
				t.Errorf("passed %t, want %t; printed:\n%s\nwant:\n%s\nof:\n%s", ok, c.ok, got, c.want, events)
			}
		})
	}
}
