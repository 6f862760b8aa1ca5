package nfqueue

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"recentfs/capture"
	"recentfs/tests/lab"
)

// atWork is what a queue has to do now.
func atWork(q *Queue) (all []string) {
	for what, number := range q.AtWork {
		all = append(all, fmt.Sprint(what, " ", number))
	}
	return all
}

// TestAtWork has a loop that hangs in a batch, and then one that takes no packets.
func TestAtWork(t *testing.T) {
	ns := newNamespace(t)
	ns.Sh(t, "iptables-legacy -A INPUT -p udp -j NFQUEUE --queue-num 3")
	from := listenIn(t, ns, "127.0.0.1:0")
	say := func() {
		t.Helper()
		if _, err := from.WriteTo([]byte("knock"), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sentinel}); err != nil {
			t.Fatal(err)
		}
	}
	const deciding, waiting = "the same packets are under decision ", "packets wait, and its loop does not take them "
	// finds looks until it finds something, and again: that stays.
	finds := func(q *Queue, want string) {
		t.Helper()
		lab.Eventually(t, "there is something at work", func() error {
			if all := atWork(q); !slices.Equal(all, []string{want}) {
				return fmt.Errorf("%q, want %q", all, want)
			}
			return nil
		})
		if all := atWork(q); !slices.Equal(all, []string{want}) {
			t.Errorf("now %q, and before %q", all, want)
		}
	}
	nothing := func(q *Queue) {
		t.Helper()
		lab.Eventually(t, "nothing is at work", func() error {
			if all := atWork(q); len(all) > 0 {
				return fmt.Errorf("%q", all)
			}
			return nil
		})
	}

	t.Run("decides", func(t *testing.T) {
		let := make(chan struct{})
		q := serve(t, ns, 3, func([]capture.Packet) { <-let })
		nothing(q)
		say()
		finds(q, deciding+"1")
		say() // waits meanwhile
		finds(q, deciding+"1")
		let <- struct{}{}
		finds(q, deciding+"3")
		let <- struct{}{}
		nothing(q)
	})
	t.Run("does not run", func(t *testing.T) {
		q, err := openIn(t, ns, 3)
		if err != nil {
			t.Fatal(err)
		}
		nothing(q)
		say()
		finds(q, waiting+"0")
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		nothing(q)
	})
}
