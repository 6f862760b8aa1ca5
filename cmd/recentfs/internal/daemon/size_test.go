package daemon

import "testing"

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text  string
		want  Size // 0 if it is refused
		short string
	}{
		{"1", 1, "1"},
		{"4096", 4096, "4K"},
		{"10240", 10240, "10K"},
		{"10241", 10241, "10241"},
		{"512K", 512 << 10, "512K"},
		{"512k", 512 << 10, "512K"},
		{"4M", 4 << 20, "4M"},
		{"4000K", 4000 << 10, "4000K"},
		{"100M", 100 << 20, "100M"},
		{"1024M", 1 << 30, "1G"},
		{"2T", 2 << 40, "2T"},
		{"8388607T", 8388607 << 40, "8388607T"},
		{"8388608T", 0, ""},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
		{"9223372036854775808", 0, ""},
		{"", 0, ""},
		{"0", 0, ""},
		{"0M", 0, ""},
		{"M", 0, ""},
		{"-1", 0, ""},
		{"+1", 0, ""},
		{"1.5M", 0, ""},
		{"4MB", 0, ""},
		{"4 M", 0, ""},
		{"4E", 0, ""},
		{"1+", 0, ""},
		{"0x10", 0, ""},
	} {
		t.Run(c.text, func(t *testing.T) {
			var got Size
			if err := got.Set(c.text); got != c.want || (err == nil) != (c.want > 0) {
				t.Fatalf("%d, %v, want %d", got, err, c.want)
			}
			if c.want > 0 && got.String() != c.short {
				t.Errorf("it is written %q, want %q", got, c.short)
			}
		})
	}
}
