package ruleset

import "testing"

func TestIsTypo(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		want       bool
	}{
		{"the same", "seconds", "seconds", true},
		{"another letter", "seconds", "secands", true},
		{"another first letter", "seconds", "zeconds", true},
		{"a letter too many", "seconds", "secconds", true},
		{"a letter too few", "seconds", "second", true},
		{"two letters swapped", "seconds", "secnods", true},
		{"two other letters", "seconds", "secxxds", false},
		{"two letters too many", "seconds", "seconds12", false},
		{"two letters too few", "seconds", "secon", false},
		{"letters swapped across another", "seconds", "sednocs", false},
		{"nothing alike", "seconds", "hitcount", false},
	} {
		if got := isTypo(c.a, c.b); got != c.want || isTypo(c.b, c.a) != c.want {
			t.Errorf("%s: %s for %s is a typo: %t, want %t", c.name, c.b, c.a, got, c.want)
		}
	}
}
