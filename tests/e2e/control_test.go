package e2e

import (
	"net"
	"testing"

	"recentfs/tests/lab"
)

// TestControlFlood opens thousands of connections to the control socket that
// never finish a request. The daemon keeps few of them, and still answers.
func TestControlFlood(t *testing.T) {
	const (
		connections = 3000
		// few is how many descriptors the daemon may spend on them.
		few = 100
	)
	for _, c := range []struct{ name, text string }{
		{"silent", ""},
		{"half a line", "GET /rul"},
		{"half a request", "GET /rules HTTP/1.1\r\nHost: recentfs\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := lab.StartDaemon(t, lab.NewNetns(t), oneTable("T"))
			before := d.Descriptors()
			for range connections {
				conn, err := net.Dial("unix", d.Control)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				// The daemon may have closed the connection by now.
				_, _ = conn.Write([]byte(c.text))
			}
			d.Must("rules")
			d.Must("reload")
			if n := d.Descriptors(); n > before+few {
				t.Errorf("the daemon has %d descriptors open, and had %d before the flood", n, before)
			}
		})
	}
}
