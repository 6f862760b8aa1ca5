// Package house holds the plan of the imports.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport is the plan of the house: each package, and which of our own it may
// import. A package that is not here has no place in the house. Tests may import
// everything, except tests/lab, which the tests of every package import.
var mayImport = map[string][]string{
	"recentfs/match/addr":      {},
	"recentfs/match/jiffies":   {},
	"recentfs/match/recent":    {"recentfs/match/addr", "recentfs/match/jiffies"},
	"recentfs/match/state":     {"recentfs/match/recent", "recentfs/match/jiffies"},
	"recentfs/match/ruleset":   {"recentfs/match/recent", "recentfs/match/addr", "recentfs/match/jiffies", "recentfs/capture"},
	"recentfs/capture":         {},
	"recentfs/capture/nfqueue": {"recentfs/capture"},
	"recentfs/capture/pcap":    {"recentfs/capture"},
	"recentfs/fs":              {"recentfs/match/recent", "recentfs/fs/device", "recentfs/fs/mountlist"},
	"recentfs/fs/device":       {},
	"recentfs/fs/mountlist":    {},
	"recentfs/fs/procnet":      {"recentfs/fs/mountlist"},
	"recentfs/namespaces":      {},

	"recentfs/cmd/recentfs/internal/control":  {},
	"recentfs/cmd/recentfs/internal/handover": {},
	"recentfs/cmd/recentfs/internal/service":  {},
	"recentfs/cmd/recentfs/internal/report":   {"recentfs/match/jiffies"},
	"recentfs/cmd/recentfs/internal/exchange": {"recentfs/cmd/recentfs/internal/report", "recentfs/match/jiffies"},
	"recentfs/cmd/recentfs/internal/daemon": {
		"recentfs/cmd/recentfs/internal/control", "recentfs/cmd/recentfs/internal/exchange", "recentfs/cmd/recentfs/internal/handover",
		"recentfs/cmd/recentfs/internal/helper",
		"recentfs/match/jiffies", "recentfs/match/recent", "recentfs/match/ruleset", "recentfs/match/state",
		"recentfs/capture", "recentfs/capture/nfqueue", "recentfs/fs", "recentfs/fs/procnet", "recentfs/namespaces",
	},
	"recentfs/cmd/recentfs/internal/helper": {"recentfs/capture/nfqueue", "recentfs/fs", "recentfs/fs/procnet", "recentfs/namespaces"},
	"recentfs/cmd/recentfs/internal/enter":  {"recentfs/fs", "recentfs/fs/procnet", "recentfs/namespaces"},
	"recentfs/cmd/recentfs/internal/replay": {
		"recentfs/cmd/recentfs/internal/report",
		"recentfs/match/jiffies", "recentfs/match/recent", "recentfs/match/ruleset",
		"recentfs/capture", "recentfs/capture/pcap",
	},
	"recentfs/cmd/recentfs/internal/tables": {
		"recentfs/cmd/recentfs/internal/exchange", "recentfs/cmd/recentfs/internal/report",
		"recentfs/match/jiffies", "recentfs/fs", "recentfs/fs/mountlist", "recentfs/namespaces",
	},
	"recentfs/cmd/recentfs": {
		"recentfs/cmd/recentfs/internal/control", "recentfs/cmd/recentfs/internal/daemon", "recentfs/cmd/recentfs/internal/enter",
		"recentfs/cmd/recentfs/internal/exchange", "recentfs/cmd/recentfs/internal/handover", "recentfs/cmd/recentfs/internal/helper", "recentfs/cmd/recentfs/internal/replay", "recentfs/cmd/recentfs/internal/report",
		"recentfs/cmd/recentfs/internal/service", "recentfs/cmd/recentfs/internal/tables",
		"recentfs/match/recent",  // the parameters, which are flags
		"recentfs/match/jiffies", // the clock of a dump, which is flags too
	},
	"recentfs/tests/lab": {},
}

// mayNotNeed names what a package may not import, not even through others, as
// prefixes of import paths.
var mayNotNeed = []struct {
	prefix    string // of the packages
	forbidden []string
}{
	{"recentfs/match/", []string{
		"github.com/hanwen/go-fuse", "github.com/florianl/go-nfqueue", "github.com/mdlayher/", "github.com/vishvananda/",
		"github.com/google/gopacket", "github.com/sirupsen/logrus", "github.com/prometheus/", "log", "net/http",
	}},
	{"recentfs/capture", []string{"github.com/hanwen/go-fuse", "github.com/sirupsen/logrus", "github.com/prometheus/", "net/http"}},
	{"recentfs/fs", []string{
		"github.com/florianl/go-nfqueue", "github.com/mdlayher/", "github.com/google/gopacket",
		"github.com/sirupsen/logrus", "github.com/prometheus/",
	}},
	{"recentfs/cmd/recentfs/internal/control", notForClients},
	{"recentfs/cmd/recentfs/internal/exchange", notForClients},
	{"recentfs/cmd/recentfs/internal/report", notForClients},
	{"recentfs/namespaces", []string{"github.com/hanwen/go-fuse", "github.com/google/gopacket", "github.com/sirupsen/logrus", "github.com/prometheus/"}},
}

// notForClients is what only the daemon needs.
var notForClients = []string{"github.com/hanwen/go-fuse", "github.com/florianl/go-nfqueue", "github.com/mdlayher/", "github.com/google/gopacket"}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Imports    []string // its own imports
	Deps       []string // what it needs, also through others
}

func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "recentfs/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; packages++ {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, breach := range breaches(p) {
			t.Errorf("%s %s", p.ImportPath, breach)
		}
	}
	if packages < 3 {
		t.Errorf("go list found %d packages: that is too few to check the rules", packages)
	}
}

// TestImportsBroken keeps the rules from going blind.
func TestImportsBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		p    goPackage
		want string
	}{
		{"upwards", goPackage{"recentfs/match/recent", []string{"recentfs/fs"}, nil}, "imports recentfs/fs"},
		{"sideways", goPackage{"recentfs/fs", []string{"recentfs/capture"}, nil}, "imports recentfs/capture"},
		{"back up", goPackage{"recentfs/cmd/recentfs/internal/control", []string{"recentfs/cmd/recentfs/internal/daemon"}, nil},
			"imports recentfs/cmd/recentfs/internal/daemon"},
		{"no place", goPackage{"recentfs/util", nil, nil}, "has no place in the house"},
		{"through others", goPackage{"recentfs/match/ruleset", nil, []string{"github.com/google/gopacket/layers"}},
			"needs github.com/google/gopacket/layers"},
		{"tests", goPackage{"recentfs/tests/bench", []string{"recentfs/fs", "recentfs/capture"}, nil}, ""},
		{"what tests share", goPackage{"recentfs/tests/lab", []string{"recentfs/fs"}, nil}, "imports recentfs/fs"},
		{"capture itself", goPackage{"recentfs/capture", nil, []string{"github.com/mdlayher/netlink"}}, "needs github.com/mdlayher/netlink"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(breaches(c.p), "; "); got != c.want {
				t.Errorf("breaches %q, want %q", got, c.want)
			}
		})
	}
}

// breaches says where p departs from the plan.
func breaches(p goPackage) (found []string) {
	may, known := mayImport[p.ImportPath]
	if !known && within(p.ImportPath, "recentfs/tests") {
		return nil
	}
	if !known {
		found = append(found, "has no place in the house")
	}
	for _, i := range p.Imports {
		if known && strings.HasPrefix(i, "recentfs/") && !slices.Contains(may, i) {
			found = append(found, "imports "+i)
		}
	}
	for _, d := range p.Deps {
		for _, rule := range mayNotNeed {
			if strings.HasPrefix(p.ImportPath, rule.prefix) && slices.ContainsFunc(rule.forbidden, func(f string) bool { return within(d, f) }) {
				found = append(found, "needs "+d)
			}
		}
		if p.ImportPath == "recentfs/capture" && (within(d, "github.com/") || within(d, "log")) {
			found = append(found, "needs "+d)
		}
	}
	return found
}

// within reports whether an import path is root or below it. A root that ends in
// a slash is a prefix.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
