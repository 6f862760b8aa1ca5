package main

import (
	"path/filepath"

	"recentfs/fs"
	"recentfs/namespaces"
)

// What the mounts ask of a server: where a process's tables are, and the
// module's parameters.

// unmanaged is where links lead those for whom there are no tables: nowhere.
const unmanaged = "unmanaged"

// tablesOf is the directory of the tables of a process's network namespace.
func (s *server) tablesOf(pid uint32) string {
	name, ok := s.nameOf(pid)
	switch {
	case !ok:
		return unmanaged
	case s.selection == nil:
		return s.mount.Dir()
	}
	return filepath.Join(s.mount.Dir(), fs.FolderPath(name))
}

// folderOf is tablesOf relative to the mount.
func (s *server) folderOf(pid uint32) string {
	if name, ok := s.nameOf(pid); ok {
		return fs.FolderPath(name)
	}
	return unmanaged
}

// nameOf is the name of a process's network namespace, if it has an instance. A
// process that we may not look at, or cannot see, is told so too.
func (s *server) nameOf(pid uint32) (string, bool) {
	id, err := namespaces.Of(int(pid))
	if err != nil {
		return "", false
	}
	name, ok := s.managed.Load(id)
	if !ok {
		return "", false
	}
	return name.(string), true
}

// setOwner changes the parameter by which new tables are owned.
func (s *server) setOwner(parameter string, id uint32) {
	if parameter == "ip_list_uid" {
		s.tables.SetUID(id)
	} else {
		s.tables.SetGID(id)
	}
}
