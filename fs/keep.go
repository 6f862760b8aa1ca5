package fs

import (
	"time"

	"recentfs/match/recent"
)

// left is what a process before has left of the tree and what nobody has asked for yet.
type left struct {
	dirs    map[uint64]*keptDir  // by number
	folders map[string]uint64    // the numbers of folders
	files   map[uint64]*keptFile // by node
}

// folder is the number of a folder that a process before has left.
func (l *left) folder(name string) (number uint64, ok bool) {
	if l == nil {
		return 0, false
	}
	number, ok = l.folders[name]
	delete(l.folders, name)
	return number, ok
}

// keepIn keeps what the next process needs. What a process before has left there is the
// file system's.
func (fs *filesystem) keepIn(k *kept) {
	fs.kept = k
	fs.dirRoom = newRoom(&k.dirs, func(d *keptDir) bool { return d.used == 0 })
	fs.fileRoom = newRoom(&k.files, func(f *keptFile) bool { return f.node == 0 })
	fs.openRoom = newRoom(&k.opens, func(o *keptOpen) bool { return o.fh == 0 })
	fs.lastHandle, fs.handlesBefore = k.lastHandle, k.lastHandle
	fs.left = &left{make(map[uint64]*keptDir), make(map[string]uint64), make(map[uint64]*keptFile)}
	for d := range k.dirs.all() {
		if d.used == 0 {
			continue
		}
		fs.left.dirs[d.number] = d
		if d.number > nsNumber {
			fs.left.folders[text(d.name[:])] = d.number
		}
	}
	for f := range k.files.all() {
		if f.node != 0 {
			fs.left.files[f.node] = f
		}
	}
	for o := range k.opens.all() {
		if o.fh == 0 {
			continue
		}
		fs.handles[o.fh] = &handle{keptOpen: o, inRoom: true, user: fs.opens(o.uid)}
		if o.reads != 0 {
			fs.addReader(o.node)
		}
	}
}

// settle ends the time in which the tables and folders come that a process before has
// had. What did not come is gone. The kernel is told so before it is forgotten: we may
// be killed in between.
func (fs *filesystem) settle() {
	for _, node := range fs.gone() {
		fs.conn.Load().Distrust(node)
	}
	fs.forget()
}

// gone are the nodes of what did not come.
func (fs *filesystem) gone() (nodes []uint64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.left == nil {
		return nil
	}
	for node := range fs.left.files {
		nodes = append(nodes, node)
	}
	for number := range fs.left.dirs {
		nodes = append(nodes, number<<32|1)
	}
	return nodes
}

// forget forgets what did not come, and gives the open files their tables.
func (fs *filesystem) forget() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.left == nil {
		return
	}
	for _, f := range fs.left.files {
		fs.freeFile(f)
	}
	for _, d := range fs.left.dirs {
		fs.freeDir(d)
	}
	fs.left = nil
	for _, h := range fs.handles {
		h.table = fs.tableOf(h.node)
	}
}

// newDirNode is a directory's node. If a process before has left it, it is the same.
// fs.mu is held, or nobody else knows fs.
func (fs *filesystem) newDirNode(number uint64, name string) dirNode {
	d := dirNode{number: number, made: time.Now(), attrs: recent.Attr{Perms: 0o555}}
	if fs.kept == nil {
		return d
	}
	if fs.left != nil {
		if d.kept = fs.left.dirs[number]; d.kept != nil {
			delete(fs.left.dirs, number)
			d.made, d.attrs = at(d.kept.made), d.kept.attrs
			return d
		}
	}
	k := fs.dirRoom.take()
	if k == nil {
		return d
	}
	*k = keptDir{number: number, made: d.made.UnixNano(), attrs: d.attrs}
	if !put(k.name[:], name) {
		fs.dirRoom.give(k)
		return d
	}
	k.used, d.kept = 1, k
	return d
}

// keepAttrs keeps the attributes of a directory. filesystem.mu is held.
func (d *dirNode) keepAttrs() {
	if d.kept != nil {
		d.kept.attrs = d.attrs
	}
}

// freeDir forgets a directory that is gone. It may be nil. fs.mu is held.
func (fs *filesystem) freeDir(k *keptDir) {
	if k != nil {
		k.used = 0
		fs.dirRoom.give(k)
	}
}

// keepFile keeps a table's file. If a process before has left it, it has the time that
// it had, and a write to it that is in doubt is settled: nothing has changed the table
// yet. fs.mu is held.
func (fs *filesystem) keepFile(in *Folder, f *file) {
	if fs.kept == nil {
		return
	}
	node := in.fileID(f.Table)
	if in.kept != nil {
		in.kept.lastTable = max(in.kept.lastTable, f.ID())
	}
	if fs.left != nil {
		fs.kept.write.Settle(f.Table, node)
		if f.kept = fs.left.files[node]; f.kept != nil {
			delete(fs.left.files, node)
			f.made = at(f.kept.made)
			return
		}
	}
	if f.kept = fs.fileRoom.take(); f.kept != nil {
		f.kept.made = f.made.UnixNano()
		f.kept.node = node
	}
}

// freeFile forgets the file of a table that is gone. It may be nil. fs.mu is held.
func (fs *filesystem) freeFile(k *keptFile) {
	if k != nil {
		k.node = 0
		fs.fileRoom.give(k)
	}
}
