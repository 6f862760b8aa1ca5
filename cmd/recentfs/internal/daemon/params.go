package daemon

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/sirupsen/logrus"

	"recentfs/match/recent"
)

// Params are the module's parameters as the user gave them.
type Params struct {
	recent.Params
	// File are those of the --modprobe-conf file alone, before -o.
	File recent.Params
}

// news is what a reload has to say of the parameters, to its user and to the log.
type news []item

type item struct {
	level logrus.Level
	text  string
}

// tell logs the news and writes them to w.
func (n news) tell(w io.Writer) error {
	var text []byte
	for _, i := range n {
		logrus.StandardLogger().Log(i.level, i.text)
		text = append(append(text, i.text...), '\n')
	}
	_, err := w.Write(text)
	return err
}

// paramNews says which parameters have changed, from before to now, and which have
// not though their file has.
func paramNews(was, is Params, before, now recent.Params) (all news) {
	for _, p := range []struct {
		name, form string
		of         func(recent.Params) uint32
		effect     string
	}{
		{"ip_list_tot", "%d", func(p recent.Params) uint32 { return p.ListTot }, ""},
		{"ip_pkt_list_tot", "%d", func(p recent.Params) uint32 { return p.PktListTot }, ""},
		{"ip_list_perms", "%#o", func(p recent.Params) uint32 { return p.Perms }, ofNewTables},
		{"ip_list_uid", "%d", func(p recent.Params) uint32 { return p.UID }, ofNewTables},
		{"ip_list_gid", "%d", func(p recent.Params) uint32 { return p.GID }, ofNewTables},
	} {
		form := func(params recent.Params) string { return fmt.Sprintf(p.form, p.of(params)) }
		switch {
		case p.of(before) != p.of(now):
			all = append(all, item{logrus.InfoLevel,
				fmt.Sprintf("%s is %s now, and was %s%s", p.name, form(now), form(before), p.effect)})
		case p.of(was.File) != p.of(is.File) && p.of(is.File) != p.of(is.Params):
			all = append(all, item{logrus.WarnLevel,
				fmt.Sprintf("%s stays %s, as -o says: %s in the file of --modprobe-conf has no effect", p.name, form(now), form(is.File))})
		}
	}
	return all
}

const ofNewTables = ", for new tables: those that are there keep theirs"

// tableNews says what the tables have kept that got another size. mu is held.
func (s *Server) tableNews(moved []recent.Resized) (all news) {
	whole := 0
	for _, i := range s.sorted() {
		own := slices.DeleteFunc(slices.Clone(moved), func(m recent.Resized) bool { return m.Registry != i.registry })
		slices.SortFunc(own, func(a, b recent.Resized) int { return cmp.Compare(a.Table.Name(), b.Table.Name()) })
		where := "table "
		if i.name != "" {
			where = "network namespace " + i.name + ": table "
		}
		for _, m := range own {
			var became string
			switch {
			case m.Dropped == 0:
				whole++
				continue
			case m.Emptied:
				became = fmt.Sprintf("is empty now, and had %d addresses: a rule counts more hits than it kept stamps", m.Dropped)
			default:
				became = fmt.Sprintf("keeps %d of %d addresses, those that were seen last", m.Kept, m.Kept+m.Dropped)
			}
			all = append(all, item{logrus.InfoLevel, where + m.Table.Name() + " " + became})
		}
	}
	if whole > 0 {
		all = append(all, item{logrus.InfoLevel, count(whole, "table") + " changed in size: all addresses stay"})
	}
	return all
}
