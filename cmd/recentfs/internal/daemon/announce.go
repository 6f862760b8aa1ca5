package daemon

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"

	"recentfs/match/recent"
)

// announce says what runs, so that the log of a start tells which of several
// files, mounts and parameters it was.
func (s *Server) announce() {
	logrus.Info(s.describe())
	for _, item := range s.memoryNews() {
		logrus.StandardLogger().Log(item.level, item.text)
	}
	if p := s.config.Params; p.ListTot == recent.DefaultParams(p.Compat).ListTot {
		logrus.Infof("each table keeps %d addresses: in a full one, a new address takes the place of the one seen longest ago (-o ip_list_tot=N keeps more)", p.ListTot)
	}
}

// describe is the configuration in one line.
func (s *Server) describe() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	rules := func(file string) string {
		name := file
		if file == "" {
			name = "the built-in example"
		}
		return fmt.Sprintf("%s (%s)", name, queueRanges(s.files[file].Queues()))
	}
	text := "rules: " + rules(s.config.Rules)
	for _, netns := range slices.Sorted(maps.Keys(s.config.NetnsRules)) {
		text += fmt.Sprintf(", for %s %s", netns, rules(s.config.NetnsRules[netns]))
	}
	p := s.config.Params
	text += fmt.Sprintf("; mount: %s; ip_list_tot=%d ip_pkt_list_tot=%d ip_list_perms=%#o ip_list_uid=%d ip_list_gid=%d, compatibility %s",
		s.tables.Dir(), p.ListTot, p.PktListTot, p.Perms, p.UID, p.GID, p.Compat) + overloadFlags(s.config)
	if len(s.config.Netns) == 0 {
		return text + "; network namespace: recentfs's own"
	}
	return text + "; network namespaces: " + strings.Join(s.config.Netns, ", ")
}

// queueRanges names ascending queues: "queues 0-3, 7".
func queueRanges(queues []uint16) string {
	var ranges []string
	for i := 0; i < len(queues); i++ {
		first := i
		for i+1 < len(queues) && queues[i+1] == queues[i]+1 {
			i++
		}
		if first == i {
			ranges = append(ranges, fmt.Sprint(queues[i]))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d-%d", queues[first], queues[i]))
		}
	}
	switch len(queues) {
	case 0:
		return "no queue"
	case 1:
		return "queue " + ranges[0]
	}
	return "queues " + strings.Join(ranges, ", ")
}
