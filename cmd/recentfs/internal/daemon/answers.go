package daemon

import (
	"path/filepath"
	"sync"

	"recentfs/fs"
	"recentfs/match/recent"
	"recentfs/namespaces"
)

// mountAnswers is what the mounts ask of the daemon: where the tables of a
// process are, the module's parameters, and who owns new tables. It waits for no
// lock of a Server, since a reload may hold that while somebody follows a link.
type mountAnswers struct {
	module  *recent.Module
	netnsOf func(pid int) (namespaces.ID, error)
	dir     string // of the tables; set before the module's mount asks

	// nameByID has the name of each namespace with an instance: a string by
	// namespaces.ID.
	nameByID sync.Map
}

// nowhere is where links lead a process that has no tables.
const nowhere = "unmanaged"

// pathOf is where the tables of a process's network namespace are below the
// mount of all tables. A process that we cannot see, or whose namespace we may
// not look at, has no tables.
func (a *mountAnswers) pathOf(pid uint32) string {
	id, err := a.netnsOf(int(pid))
	if err != nil {
		return nowhere
	}
	name, ok := a.nameByID.Load(id)
	if !ok {
		return nowhere
	}
	return tablesPath(name.(string))
}

// dirOf is pathOf as an absolute path.
func (a *mountAnswers) dirOf(pid uint32) string {
	path := a.pathOf(pid)
	if path == nowhere {
		return nowhere
	}
	return filepath.Join(a.dir, path)
}

// tablesPath is where in the mount the tables of a namespace are. One without a
// name has the root.
func tablesPath(name string) string {
	if name == "" {
		return "."
	}
	return fs.FolderPath(name)
}

// setOwner changes the parameter by which new tables are owned.
func (a *mountAnswers) setOwner(parameter string, id uint32) {
	if parameter == "ip_list_uid" {
		a.module.SetUID(id)
	} else {
		a.module.SetGID(id)
	}
}
