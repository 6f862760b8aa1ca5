package fs

// AtWork is that of the mount's connection, which may be another one after Restore: see
// fs/device. It waits for nothing, and may be called at any time by any goroutine.
func (m *Mountpoint) AtWork(yield func(what string, number uint64) bool) {
	if conn := m.answering.Load(); conn != nil {
		conn.AtWork(yield)
	}
}
