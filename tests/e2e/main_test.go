package e2e

import (
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
