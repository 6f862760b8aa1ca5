package live

import (
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
