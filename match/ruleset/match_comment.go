package ruleset

import (
	"errors"
	"fmt"

	"recentfs/capture"
)

const maxComment = 255 // XT_MAX_COMMENT_LEN, less its final NUL

// commentMatch is -m comment: xt_comment. Any packet meets it.
type commentMatch struct {
	text  string
	given bool
}

func (m *commentMatch) options() []option {
	return []option{{names: []string{"comment"}, args: 1, read: m.readComment}}
}

func (m *commentMatch) readComment(_ *line, g *given) error {
	if len(g.arg[0]) > maxComment {
		return fmt.Errorf("%s has %d bytes: the kernel keeps %d, shorten it", g.name, len(g.arg[0]), maxComment)
	}
	m.text, m.given = g.arg[0], true
	return nil
}

func (m *commentMatch) check(*line) error {
	if !m.given {
		return errors.New(`-m comment needs --comment "TEXT"`)
	}
	return nil
}

func (m *commentMatch) meets(*capture.Packet, *hold) outcome { return yes }

func (m *commentMatch) append(b []byte, _ uint8) []byte {
	return quote(append(b, " --comment "...), m.text)
}
