package live

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

var recentActions = []string{"--set", "--rcheck", "--update", "--remove"}

// recentOptionWords are all other options of -m recent, with a value where
// there is one.
func recentOptionWords(v6 bool) []string {
	mask := "255.255.0.0"
	if v6 {
		mask = "ffff:ffff::"
	}
	return []string{
		"--seconds 60", "--hitcount 4", "--reap", "--rttl", "--name n", "--rsource", "--rdest", "--mask " + mask,
	}
}

// flagRules is every set of options with every action and with none, plain and
// inverted, in a random order. Sets of several actions have one option at most.
func flagRules(rnd *rand.Rand, v6 bool) (rules []string) {
	add := func(words []string) {
		words = append([]string(nil), words...)
		rnd.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
		rules = append(rules, strings.Join(append([]string{"-m recent"}, words...), " "))
	}
	options := recentOptionWords(v6)
	for _, actions := range actionSets() {
		for set := range 1 << len(options) {
			words := actions
			for i, o := range options {
				if set&(1<<i) != 0 {
					words = append(words[:len(words):len(words)], o)
				}
			}
			if len(actions) > 1 && len(words) > len(actions)+1 {
				continue
			}
			add(words)
		}
	}
	return rules
}

// actionSets are the sets of actions, each of them plain or inverted.
func actionSets() (sets [][]string) {
	for n := range 81 { // 3^4: each is not there, plain or inverted
		var set []string
		for _, a := range recentActions {
			switch n % 3 {
			case 1:
				set = append(set, a)
			case 2:
				set = append(set, "! "+a)
			}
			n /= 3
		}
		sets = append(sets, set)
	}
	return sets
}

// The values of options, good and bad, as a file has them.
var (
	numberWords = []string{
		"0", "1", "2", "20", "21", "31", "32", "33", "100", "255", "256", "65534", "65535", "65536",
		"2147483647", "2147483648", "4294967295", "4294967296", "18446744073709551615", "18446744073709551616",
		"-1", "+1", "+0", "--1", "+-1", "++1", `" 1"`, `"1 "`, `" +1"`, `" "`, `""`, "0x10", "0X10", "0xffffffff", "0x", "+0x1", "0x-1",
		"010", "08", "00", "1x", "x", "1.5", "1e3", "1,000", "!", "٣",
	}
	nameWords = []string{
		"a", "DEFAULT", "a.b", "a-b", "a_b", ".a", "a.", "...", "..a", ".", "..", "a/b", "/", "/a", "a/", `""`, "-", "--", "-a", "--set",
		"-t", "-cat", "--table", "!", "!a", "a!", `"!"`, `"-a"`, `"a b"`, `" a"`, `"a "`, `" "`, `"a\"b"`, `"a\\b"`, `a\b`, `a"b"`, `"a"b`, `"a""b"`, "'a b'", "'a'",
		"a,b", "a;b", "#a", "*a", ":a", "[0:0]", "$a", "%s", "%n", "a:b", "a=b", "(a)", "COMMIT", "ä", "\xff", "a\tb", "\"a\tb\"", "\x7f",
		strings.Repeat("n", 15), strings.Repeat("n", 198), strings.Repeat("n", 199), strings.Repeat("n", 200), strings.Repeat("n", 300),
	}
	maskWords = []string{
		"255.255.255.255", "255.255.0.0", "0.0.0.0", "255.0.255.0", "1.2.3.4", "255.255.255.254", "255.255", "255", "255.255.255", "24", "/24", "0",
		"255.255.255.256", "255.255.255.0/24", "255.256", "255.65535", "255.255.65536", "255.255.255.0.", ".255.255.0", "255..0.0", "0xffffff00", "4294967295", "4294967296", "0377.255.0.0", "0378.0.0.0", "+255.0.0.0", "-1", "09.0.0.0", `"255.0.0.0 "`, `" 255.0.0.0"`, `"255.0.0.0 x"`,
		"ffff::", "::", "ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "FFFF::", "::ffff", "::1.2.3.4", "::ffff:255.255.0.0", "1::2::3", ":::", "ffff::/16", "fffff::", "ffff:0:0:0:0:0:0:0", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "::255.255.0.256", "::01.2.3.4", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "ffff::%lo", "ffff::%1", "fe80::%lo", "fe80::%1",
		"localhost", "nosuch", `""`, "!", "-1", "ffff", "-ffff::",
	}
)

// edgeRules have values at the limits, and options that are repeated, inverted,
// cut short or spelt in other ways.
func edgeRules(v6 bool) (rules []string) {
	add := func(format string, args ...any) {
		rules = append(rules, "-m recent "+fmt.Sprintf(format, args...))
	}
	for _, v := range numberWords {
		add("--rcheck --seconds %s", v)
		add("--rcheck --seconds=%s", v)
		add("--update --hitcount %s", v)
		add("--set --hitcount %s", v)
		add("--rcheck --seconds %s --reap --hitcount %s", v, v)
		add("! --update --seconds 10 --hitcount %s --rttl", v)
	}
	for _, v := range numberWords {
		for _, o := range []string{"ttl --ttl-eq", "ttl ! --ttl", "ttl --ttl-lt", "ttl --ttl-gt", "length --length", "length ! --length"} {
			rules = append(rules, fmt.Sprintf("-m %s %s", o, v))
		}
		rules = append(rules, fmt.Sprintf("-m length --length %s:", v), fmt.Sprintf("-m length --length :%s", v))
	}
	for _, v := range nameWords {
		add("--set --name %s", v)
		add("--set --name=%s", v)
		add("--name %s --set", v)
		add("--rcheck --name %s -j ACCEPT", v)
	}
	for _, v := range maskWords {
		add("--set --mask %s", v)
		add("--set --mask=%s", v)
		add("--mask %s --rcheck --rdest", v)
	}
	for _, w := range append(recentOptionWords(v6), recentActions...) {
		name, value, _ := strings.Cut(w, " ")
		for _, base := range append([]string{""}, recentActions...) {
			if base != "" {
				base += " "
			}
			add("%s%s", base, w)
			add("%s%s %s", base, w, w)
			add("%s! %s", base, w)
			add("%s%s ! %s", base, w, w)
			add("%s! ! %s", base, w)
			add("%s%s ! %s", base, name, value)
			add("%s! %s ! %s", base, name, value)
			add("%s%s", base, name)
			add("%s%s=", base, name)
			add("%s%s=%s", base, name, value)
			add("%s%s x", base, w)
			add("%s-m recent %s", base, w)
			add("%s-%s", base, w)
			add("%s%s", base, strings.ToUpper(w))
			add("%s%s", base, w[1:])
		}
		for n := 2; n < len(name); n++ {
			add("--rcheck %s %s", name[:n], value)
			add("%s %s", name[:n], value)
		}
	}
	return append(rules,
		"-m recent", "-m recent -j DROP", "! -m recent --set", "-m ! recent --set", "-m recent ! -j DROP --set", "-m recent --set !",
		"--set", "--set -m recent", "-m Recent --set", "-m recen --set", "--match recent --set", "--mat recent --set", "-m=recent --set", "-mrecent --set",
		"-m recent --set -m recent --set", "-m recent --set -m recent", "-m recent -m recent --set", "-m recent --set -m recent --rttl",
		"-m recent --set -m tcp -p tcp --rttl", "-m recent -p tcp --dport 22 --set", "-p tcp -m recent --set --dport 22", "-p tcp -m recent --set --syn --name a",
		"-m recent --set --rsource --rdest", "-m recent --set --rdest --rsource", "-m recent --rcheck --seconds 5 --seconds 6",
		"-j DROP -m recent --set", "-m recent --set -j user", "-m recent --set -g user", "-m recent --set -j nosuch", "-m recent --set -j",
		"-m recent --set -j LOG --log-prefix x --rttl", "-j LOG -m recent --rcheck --rttl --log-prefix x", "-m recent --rcheck -j NFQUEUE --rttl --queue-num 3",
		`-m recent --set --name a"b c"d`, `"-m" recent "--set"`, `-m "recent" --set`, `-m recent "--set --name x"`, `-m recent "" --set`, `-m recent --set ""`,
		"\t-m\trecent  --set\t", "-m recent --set # comment", "-m recent --set --", "-m recent -- --set", "-m recent --set -", "-m recent --set --name", `-m recent --set --name "open`,
	)
}
