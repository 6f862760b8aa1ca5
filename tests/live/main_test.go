// Package live compares recentfs with a kernel that has xt_recent itself: in one
// network namespace both get the same packets, writes, reads and rules.
package live

import (
	"testing"

	"recentfs/tests/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
