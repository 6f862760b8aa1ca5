// Package script tests the command line: scripts that read like documentation,
// and the README.
package script

import (
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
