package helper

import (
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"recentfs/capture/nfqueue"
	"recentfs/fs"
	"recentfs/namespaces"
)

// Client is the machine for a process without the privileges: a helper does what it
// needs.
type Client struct {
	path   string
	wanted *namespaces.Selection
}

// Connect finds the helper that listens at path, and that is to allow what is wanted. One
// with other flags ends, since it was started before these were changed, and systemd
// starts another. If that one allows something else too, it says so when asked for what
// it does not.
func Connect(path string, want Allowed) (*Client, error) {
	wanted, err := namespaces.Parse(want.Netns)
	if err != nil {
		return nil, err
	}
	c := &Client{path, wanted}
	a, err := c.done(request{Do: agree, Want: &want})
	if err == nil && !a.Yes {
		logrus.Infof("helper %s: it has other flags, and ends: another takes its place", path)
		_, err = c.done(request{Do: agree, Want: &want, Again: true})
	}
	if err != nil {
		return nil, err
	}
	found, err := c.Present()
	if err != nil {
		return nil, err
	}
	for _, name := range want.Netns {
		if name != namespaces.All && !isPresent(name, found) {
			return nil, fmt.Errorf("network namespace %s is not there, or the helper's --netns does not name it: see 'ip netns list'", name)
		}
	}
	return c, nil
}

// answerTime is how long an answer may take: longer than the helper needs, and not so
// long that whoever waits for it takes us for hung. A mount may have to wait for others
// that mount, and the first request for the helper's start.
func answerTime(do action) time.Duration {
	switch do {
	case agree, attach, detach, abandon, cover, uncover, restoreCover:
		return 20 * time.Second
	}
	return 2 * time.Second
}

// isPresent tells whether a namespace is among those that were found.
func isPresent(text string, found []namespaces.Found) bool {
	named, err := namespaces.Parse([]string{text})
	return err == nil && slices.ContainsFunc(found, func(f namespaces.Found) bool { return slices.ContainsFunc(f.Names, named.Names) })
}

// ask sends a request and returns the answer and its descriptors, of which there are
// none if there is an error.
func (c *Client) ask(r request, fds ...int) (a answer, got []int, err error) {
	conn, err := c.dial()
	if err != nil {
		return a, nil, err
	}
	defer conn.Close()
	if err = conn.SetDeadline(time.Now().Add(answerTime(r.Do))); err == nil {
		err = send(conn, r, fds...)
	}
	if err == nil {
		got, err = receive(conn, &a, 1<<30)
	}
	if err != nil {
		closeAll(got)
		return a, nil, fmt.Errorf("helper %s: %s: %w", c.path, r.Do, err)
	}
	if err := a.err(); err != nil {
		closeAll(got)
		return a, nil, err
	}
	return a, got, nil
}

func (c *Client) dial() (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("helper %s: %w: systemctl start recentfs-helper.socket, or run as root without --helper", c.path, err)
	}
	return conn, nil
}

// one is the only descriptor of an answer.
func one(got []int, err error) (int, error) {
	if err == nil && len(got) != 1 {
		closeAll(got)
		err = fmt.Errorf("the helper has sent %d descriptors, not one", len(got))
	}
	if err != nil {
		return -1, err
	}
	return got[0], nil
}

// done is for an answer without descriptors.
func (c *Client) done(r request) (answer, error) {
	a, got, err := c.ask(r)
	closeAll(got)
	return a, err
}

// Find implements Host.
func (c *Client) Find(dir string) (fs.Site, error) {
	a, err := c.done(request{Do: find, Dir: dir})
	return a.Site, err
}

// Attach implements Host.
func (c *Client) Attach(s *fs.Site, fd int) (int, error) {
	if fd >= 0 {
		a, got, err := c.ask(request{Do: attach, Site: *s}, fd)
		closeAll(got)
		if err == nil {
			*s = a.Site
		}
		return fd, err
	}
	a, got, err := c.ask(request{Do: attach, Site: *s})
	if fd, err = one(got, err); err == nil {
		*s = a.Site
	}
	return fd, err
}

// There implements Host.
func (c *Client) There(s *fs.Site) (bool, error) {
	a, err := c.done(request{Do: there, Site: *s})
	return a.Yes, err
}

// Detach implements Host.
func (c *Client) Detach(s *fs.Site, ended bool) (unmounted bool, err error) {
	a, err := c.done(request{Do: detach, Site: *s, Ended: ended})
	if err == nil {
		*s = a.Site
	}
	return a.Yes, err
}

// Take implements Host.
func (c *Client) Take(s *fs.Site) error {
	_, err := c.done(request{Do: take, Site: *s})
	return err
}

// Abandon implements Host.
func (c *Client) Abandon(dev uint64, dir string) error {
	_, err := c.done(request{Do: abandon, Dev: dev, Dir: dir})
	return err
}

// Cover implements Host.
func (c *Client) Cover(goesOn bool) error {
	_, err := c.done(request{Do: cover, GoesOn: goesOn})
	return err
}

// Uncover implements Host.
func (c *Client) Uncover() error {
	_, err := c.done(request{Do: uncover})
	return err
}

// RestoreCover implements Host.
func (c *Client) RestoreCover() (restored bool, err error) {
	a, err := c.done(request{Do: restoreCover})
	return a.Yes, err
}

// RefreshCover implements Host.
func (c *Client) RefreshCover() error {
	_, err := c.done(request{Do: refreshCover})
	return err
}

// Present implements Host.
func (c *Client) Present() ([]namespaces.Found, error) {
	a, err := c.done(request{Do: present})
	return slices.DeleteFunc(a.Found, func(f namespaces.Found) bool { return !c.wanted.CouldSelectPath(f.Path) }), err
}

// Hold implements Host.
func (c *Client) Hold(f namespaces.Found) (*os.File, error) {
	_, got, err := c.ask(request{Do: hold, Found: f})
	fd, err := one(got, err)
	if err != nil {
		return nil, err
	}
	return file(fd, f.Path), nil
}

// QueueSocket implements Host.
func (c *Client) QueueSocket(f namespaces.Found, held *os.File) (nfqueue.Socket, error) {
	_, got, err := c.ask(request{Do: queueSocket, Found: f}, int(held.Fd()))
	if err == nil && len(got) != 1 && len(got) != 2 {
		closeAll(got)
		err = fmt.Errorf("the helper has sent %d descriptors, not a socket and the list of queues", len(got))
	}
	if err != nil {
		return nfqueue.Socket{}, err
	}
	return nfqueue.SocketOf(got), nil
}

// NetnsOf implements Host.
func (c *Client) NetnsOf(pid int) (namespaces.ID, error) {
	a, err := c.done(request{Do: netnsOf, PID: pid})
	return a.ID, err
}

// CheckProcesses implements Host.
func (c *Client) CheckProcesses() error {
	_, err := c.done(request{Do: checkProcesses})
	return err
}

// Open implements Host.
func (c *Client) Open(f File) (*os.File, error) {
	_, got, err := c.ask(request{Do: open, File: f})
	fd, err := one(got, err)
	if err != nil {
		return nil, err
	}
	return file(fd, string(f)), nil
}

// Close implements Host. Watch is stopped by then.
func (c *Client) Close() {}
