package ruleset

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"recentfs/match/recent"
)

var (
	classic = recent.DefaultParams(recent.Classic)
	modern  = recent.DefaultParams(recent.Modern)
)

// ruleCase is a line of a testdata/*.t file: "rule;what save prints;OK", or
// "rule;part of the refusal;FAIL".
type ruleCase struct {
	name, rule, want string
	ok               bool
}

func readCases(t testing.TB, file string) []ruleCase {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []ruleCase
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		text := sc.Text()
		if text == "" || text[0] == '#' {
			continue
		}
		part := strings.Split(text, ";")
		if len(part) != 3 {
			t.Fatalf("%s:%d: %d fields, want 3", file, n, len(part))
		}
		if part[1] == "=" {
			part[1] = part[0]
		}
		all = append(all, ruleCase{fmt.Sprintf("%s:%d %s", file, n, part[0]), part[0], part[1], part[2] == "OK"})
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// document is a file around one rule.
func document(rule string) string {
	return "*recent\n:QUEUE7 ACCEPT [0:0]\n:user - [0:0]\n-A QUEUE7 " + rule + "\nCOMMIT\n"
}

func mustParse(t testing.TB, text string, p recent.Params) *File {
	t.Helper()
	f, err := Parse("rules", []byte(text), p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func saved(t testing.TB, f *File) string {
	t.Helper()
	var b strings.Builder
	if err := f.Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRules(t *testing.T) {
	for _, file := range []string{"iptables.t", "ip6tables.t", "recentfs.t"} {
		for _, c := range readCases(t, file) {
			t.Run(c.name, func(t *testing.T) {
				text := strings.ReplaceAll(document(c.rule), "QUEUE0", "QUEUE7")
				if strings.Contains(c.rule, "QUEUE0") {
					text = strings.ReplaceAll(document(c.rule), "QUEUE7", "QUEUE0")
				}
				f, err := Parse("rules", []byte(text), classic)
				if !c.ok {
					if err == nil {
						t.Fatalf("taken, and saved as\n%s", saved(t, f))
					}
					if !strings.HasPrefix(err.Error(), "rules:4: ") || !strings.Contains(err.Error(), c.want) {
						t.Errorf("refused with %q, want %q on line 4", err, c.want)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := strings.TrimRight("-A QUEUE7 "+c.want, " ")
				once := saved(t, f)
				if got := strings.Split(once, "\n")[3]; got != want {
					t.Errorf("saved as\n%s, want\n%s", got, want)
				}
				if again := saved(t, mustParse(t, once, classic)); again != once {
					t.Errorf("saved again as\n%s, want\n%s", again, once)
				}
			})
		}
	}
}
