package namespaces

import (
	"testing"

	"recentfs/tests/lab"
)

// TestFewDescriptors opens and watches namespaces with too few descriptors.
func TestFewDescriptors(t *testing.T) {
	bind(t, newNamespace(t), named("red"))
	p := startProcess(t, open(t, named("red")))
	all := selected(t, "all", p.pid())
	list, err := selected(t, "red", p.pid()).Present()
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v are present, %v", list, err)
	}
	var ns *Namespace
	var s *Selection
	var stop func()
	for _, c := range []struct {
		name   string
		do     func() (err error)
		closed func()
	}{
		{"open", func() (err error) {
			ns, err = list[0].Open()
			if (ns == nil) != (err != nil) {
				t.Errorf("opened %v, %v", ns, err)
			}
			return err
		}, func() { ns.Close() }},
		{"select", func() (err error) {
			s, err = Select([]string{"red", p.pid()})
			return err
		}, func() { s.Close() }},
		{"all", func() error {
			_, err := all.Present()
			return err
		}, func() {}},
		{"watch", func() (err error) {
			stop, err = all.Watch(func() {})
			return err
		}, func() { stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			lab.FewDescriptors(t, c.do, func(error) {})
			c.closed()
		})
	}
}
