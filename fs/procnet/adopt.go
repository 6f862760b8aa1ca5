package procnet

import (
	"os"
	"path/filepath"
)

// Adopt goes on with the cover that a process before has left, so that /proc/net is
// covered all the time. It returns nil if there is none, or if a part of it is missing,
// or leads elsewhere: then Mount makes another. The arguments are as for Mount.
func Adopt(tables string, parameters []string) (*Cover, error) {
	c := &Cover{tables: tables, parameters: parameters}
	c.mu.Lock()
	defer c.mu.Unlock()
	want := []string{tmpfsDir, procNet}
	if _, err := os.Stat(sysParameters); err == nil {
		want = append(want, sysParameters)
	}
	for _, path := range want {
		if ours, err := isCover(path); err != nil || !ours {
			return nil, err
		}
	}
	if !c.leads() {
		return nil, nil
	}
	c.mounted = want
	if err := c.refresh(); err != nil {
		return nil, err
	}
	return c, nil
}

// leads tells whether the links of the cover that is there lead where ours would.
func (c *Cover) leads() bool {
	links := map[string]string{
		filepath.Join(netDir, "xt_recent"):  c.tables,
		filepath.Join(netDir, "ipt_recent"): c.tables,
	}
	for _, file := range c.parameters {
		links[filepath.Join(parametersDir, filepath.Base(file))] = file
	}
	for link, to := range links {
		if is, err := os.Readlink(link); err != nil || is != to {
			return false
		}
	}
	return true
}
