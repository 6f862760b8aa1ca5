package e2e

import (
	"strings"
	"testing"
)

// unkillable is a daemon that mounts a file system on its first argument, reads a request
// of its own thread, and does not answer it.
const unkillable = `
import ctypes, os, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
dir = sys.argv[1].encode()
os.makedirs(dir, exist_ok=True)
fd = os.open("/dev/fuse", os.O_RDWR)
assert libc.mount(b"recentfs", dir, b"fuse.recentfs", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd) == 0
init = os.read(fd, 1 << 17)
unique, = struct.unpack_from("Q", init, 8)
out = struct.pack("IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 9, 65536, 1, 1, 0, 0, *[0] * 7)
os.write(fd, struct.pack("IiQ", 16 + len(out), 0, unique) + out)
helper = socket.socket(socket.AF_UNIX)
helper.connect("/run/recentfs-helper.sock")
helper.send(b'{"do":"watch"}')
helper.shutdown(socket.SHUT_WR)
assert helper.recv(1) == b"\n"
threading.Thread(target=lambda: os.stat(dir), daemon=True).start()
os.read(fd, 1 << 17)
print("hangs", flush=True)
time.sleep(1000)
`

// TestLastResort has systemd stop a service that waits for its own mount. It cannot be
// killed, until its connection is ended.
func TestLastResort(t *testing.T) {
	s := newService(t)
	s.Write("/usr/local/bin/unkillable", unkillable, 0o755)
	s.Write("/etc/systemd/system/recentfs.service.d/unkillable.conf", `[Service]
Type=exec
Restart=no
TimeoutStopSec=1
User=
AmbientCapabilities=
CapabilityBoundingSet=~
SystemCallFilter=
ProtectSystem=no
PrivateDevices=no
ProtectClock=no
DeviceAllow=/dev/fuse rw
ExecStart=
ExecStart=+/usr/bin/nsenter --target 1 --mount --root /usr/bin/python3 /usr/local/bin/unkillable /run/recentfs/xt_recent
`, 0o644)
	s.Sh(`
		systemctl daemon-reload
		systemctl start recentfs
		timeout 5 sh -c 'until journalctl -u recentfs | grep -q hangs; do :; done' || { journalctl -u recentfs --no-pager >&2; exit 3; }
		systemctl show -P MainPID recentfs > /run/pid`)
	s.Sh("systemctl stop recentfs; timeout 30 sh -c 'while [ -e /proc/$(cat /run/pid) ]; do :; done'")
	if said := s.Sh("journalctl -u recentfs-helper --no-pager"); !strings.Contains(said, "was killed and does not end") {
		t.Errorf("the helper says %s", said)
	}
}
