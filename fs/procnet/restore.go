package procnet

import (
	"github.com/moby/sys/mountinfo"

	"recentfs/fs/mountlist"
)

// Restore is Mount once more, where somebody has unmounted a part of the cover, and
// tells whether somebody has.
func (c *Cover) Restore() (restored bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there, err := c.isThere(); err != nil || there {
		return false, err
	}
	if err := c.replace(); err != nil {
		return false, err
	}
	return true, nil
}

// isThere tells whether all that was mounted is, maybe under other mounts. c.mu is
// held.
func (c *Cover) isThere() (bool, error) {
	ours := make(map[string]bool)
	_, err := mountlist.Get(func(m *mountinfo.Info) (skip, stop bool) {
		if isOurs(m) {
			ours[m.Mountpoint] = true
		}
		return true, false
	})
	if err != nil || len(c.mounted) == 0 {
		return false, err
	}
	for _, path := range c.mounted {
		if !ours[path] {
			return false, nil
		}
	}
	return true, nil
}
