package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"recentfs/cmd/recentfs/internal/handover"
	"recentfs/cmd/recentfs/internal/helper"
	"recentfs/cmd/recentfs/internal/service"
)

func mountHelperCommand() *cobra.Command {
	var allowed helper.Allowed
	var logPackets string
	cmd := &cobra.Command{
		Use:   "mount-helper",
		Short: "Mount and open what only root may, for the service",
		Long: `mount-helper mounts the tables for a recentfs that runs without the privileges
of root, covers /proc/net for it, and opens sockets in network namespaces and files.
systemd starts it (recentfs-helper.socket) when the service asks, and it ends half a
minute after the service. It answers the owner of the socket and root.

It does what its own flags allow. They are those of 'recentfs run', and come from
the same variables: set both in /etc/default/recentfs.`,
		Example: `  systemctl status recentfs-helper.socket
  RECENTFS_NETNS=all recentfs mount-helper`,
		RunE: asRunError(func(*cobra.Command, []string) error {
			socket, err := receivedSocket()
			if err != nil {
				return err
			}
			allowed.KernelLog = logPackets == "kmsg"
			// One that hangs, as when somebody stops it, is ended: the next start of the
			// service would wait for it, and packets would wait for the service.
			stop := service.Watch(func(func(string, uint64) bool) {})
			defer stop()
			return helper.Serve(socket, allowed)
		}),
	}
	cmd.Flags().StringVarP(&allowed.Mountpoint, "mountpoint", "m", defaultMountpoint, "`DIR` to mount the tables on")
	cmd.Flags().StringArrayVar(&allowed.Netns, "netns", nil, "network `NAMESPACE` to open sockets in; repeatable")
	cmd.Flags().BoolVar(&allowed.ProcNet, "proc-net", false, "cover /proc/net when asked")
	cmd.Flags().StringVar(&logPackets, "log-packets", "", "open the kernel's log if this is kmsg")
	return fromEnvironment(cmd)
}

// receivedSocket is the socket that systemd has listened at.
func receivedSocket() (*net.UnixListener, error) {
	var fds []int
	for _, some := range handover.Received() {
		fds = append(fds, some...)
	}
	if len(fds) != 1 {
		return nil, errors.New("it is for systemd to start, which passes a socket: systemctl start recentfs-helper.socket")
	}
	f := os.NewFile(uintptr(fds[0]), "socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket that was passed: %w", err)
	}
	socket, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("the socket that was passed is of %s, not a unix socket", l.Addr().Network())
	}
	return socket, nil
}
