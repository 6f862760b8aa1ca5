package nfqueue

import (
	"bytes"
	"testing"
)

func TestFindQueue(t *testing.T) {
	const line = "    7  12345     3 2 65531     4     5     6  1\n"
	want := queueState{portid: 12345, waiting: 3, full: 4, lost: 5, last: 6}
	for _, c := range []struct {
		name, text string
		found      bool
	}{
		{"as the kernel writes it", line, true},
		{"after others", "    1  1     0 2 65531     0     0     0  1\n" + line, true},
		{"another", "    1  1     0 2 65531     0     0     0  1\n", false},
		{"a line that ends early", "    7  12345     3\n", false},
		{"no number", "    7  12345     3 2 x     4     5     6  1\n", false},
		{"a number of 33 bits", "    7  4294967296     3 2 65531     4     5     6  1\n", false},
		{"nothing", "", false},
	} {
		got, ok := (&procQueues{file: bytes.NewReader([]byte(c.text))}).find(7)
		if ok != c.found || ok && got != want {
			t.Errorf("%s: %+v, %t", c.name, got, ok)
		}
	}
}

// FuzzFindQueue reads what no kernel writes.
func FuzzFindQueue(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte, number uint16) {
		got, ok := (&procQueues{file: bytes.NewReader(text)}).find(number)
		if !ok && got != (queueState{}) {
			t.Errorf("not found, and yet %+v", got)
		}
	})
}
