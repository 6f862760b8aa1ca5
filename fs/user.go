package fs

import "recentfs/match/recent"

// maxOpen is how many files of a mount one user may have open, but for root. Each
// costs us about 430 bytes. With what is kept of lines (recent.Kept) a user has 24 MB of
// our memory at most, and that of the requests under way. In procfs it is the user's own.
const maxOpen = 1 << 15

// user is what one user has open.
type user struct {
	open int         // files; guarded by filesystem.mu
	kept recent.Kept // of lines
}

// opens counts a further open file of a user. fs.mu is held.
func (fs *filesystem) opens(uid uint32) *user {
	u := fs.users[uid]
	if u == nil {
		u = new(user)
		fs.users[uid] = u
	}
	u.open++
	return u
}

// mayOpen tells whether a user may open another file. fs.mu is held.
func (fs *filesystem) mayOpen(uid uint32) bool {
	u := fs.users[uid]
	return uid == 0 || u == nil || u.open < maxOpen
}

// closes takes back what opens counted. fs.mu is held.
func (fs *filesystem) closes(uid uint32) {
	u := fs.users[uid]
	if u.open--; u.open == 0 {
		delete(fs.users, uid)
	}
}
