package daemon

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestLogFailure says each failure once, in a line of its own.
func TestLogFailure(t *testing.T) {
	var log bytes.Buffer
	logrus.SetOutput(&log)
	defer logrus.SetOutput(os.Stderr)
	both := errors.Join(errors.New("a failed"), errors.New("b failed"))
	said := ""
	for _, c := range []struct {
		name string
		err  error
		want []string
	}{
		{"saved", nil, nil},
		{"two tables are not", both, []string{"not saved, and go on: a failed", "not saved, and go on: b failed"}},
		{"the same", both, nil},
		{"saved again", nil, []string{"saved again"}},
	} {
		log.Reset()
		said = logFailure(c.err, said)
		lines := slices.Collect(strings.Lines(log.String()))
		if len(lines) != len(c.want) {
			t.Errorf("%s: it said %q, want %q", c.name, lines, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: it said %q, want %q", c.name, lines[i], want)
			}
		}
	}
}
