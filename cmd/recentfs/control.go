package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// control is the socket by which other recentfs commands speak to a running
// one. A request is a line, "rules", "rules NETNS" or "reload"; the answer is
// "ok", a newline and text, or "error: " and the reason.
type control struct {
	*net.UnixListener
	made string // the directory, where listenControl made it
}

// requestTime bounds the reading of a request, so that a silent client does not
// keep its connection. A reload may take as long as it takes.
const requestTime = 10 * time.Second

// listenControl makes the socket, for root alone. It replaces one that nobody
// listens on any more.
func listenControl(path string) (*control, error) {
	if err := makeWay(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	c := &control{}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err == nil {
		c.made = dir
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
			return nil, err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("control socket: %w: make its directory or choose another --control", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		c.removeDir()
		if errors.Is(err, syscall.EINVAL) {
			return nil, fmt.Errorf("control socket %s: the path is too long for a socket (107 bytes): choose another --control", path)
		}
		return nil, fmt.Errorf("control socket: %w: run as root or choose another --control", err)
	}
	c.UnixListener = l
	return c, nil
}

// makeWay removes a socket that nobody listens on any more. Anything else that
// is in the way is an error.
func makeWay(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && file.Mode().Type() != os.ModeSocket {
		return errors.New("a file is in the way: remove it or choose another --control")
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another recentfs is running: stop it, or give this one its own --control, --mountpoint and queues")
	case errors.Is(err, os.ErrPermission):
		return errors.New("permission denied: run as root")
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("it cannot be told whether another recentfs listens there: %w", err)
}

// serve answers until close.
func (c *control) serve(s *server) {
	for {
		conn, err := c.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors: the next try may find one.
			logrus.WithError(err).Warn("control socket")
			time.Sleep(100 * time.Millisecond)
			continue
		}
		go answer(s, conn)
	}
}

// close removes the socket, and its directory where it was made for it.
func (c *control) close() error {
	err := c.Close()
	c.removeDir()
	return err
}

func (c *control) removeDir() {
	if c.made != "" {
		// Somebody else's files in it are a reason to leave it.
		_ = os.Remove(c.made)
	}
}

func answer(s *server, conn net.Conn) {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return
	}
	request, err := bufio.NewReader(io.LimitReader(conn, 512)).ReadString('\n')
	if err != nil {
		return
	}
	var text bytes.Buffer
	switch word, netns, _ := strings.Cut(strings.TrimSuffix(request, "\n"), " "); word {
	case "rules":
		err = s.saveRules(&text, netns)
	case "reload":
		err = s.reload()
	default:
		err = fmt.Errorf("unknown request %q", request)
	}
	if err != nil {
		fmt.Fprintf(conn, "error: %v", err)
		return
	}
	if err := conn.SetWriteDeadline(time.Now().Add(requestTime)); err != nil {
		return
	}
	fmt.Fprintf(conn, "ok\n%s", text.Bytes())
}

// ask sends a running recentfs a request and returns its answer.
func ask(path, request string) (string, error) {
	conn, err := net.Dial("unix", path)
	if errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("%s: only root may speak to a running recentfs", path)
	}
	if err != nil {
		return "", fmt.Errorf("%s: no recentfs answers there: start one with 'recentfs run', or name its --control", path)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	if text, ok := strings.CutPrefix(string(answer), "ok\n"); ok {
		return text, nil
	}
	if why, ok := strings.CutPrefix(string(answer), "error: "); ok {
		return "", errors.New(why)
	}
	return "", fmt.Errorf("%s: it ended without an answer", path)
}

func controlFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "control", defaultControl, "`SOCKET` of the running recentfs")
}

func rulesCommand() *cobra.Command {
	var path, netns string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Print the running rules with their counters",
		Long: `rules prints the rules at work as iptables-save -c would: each with the
packets and bytes that matched it, each chain with those that its policy
decided. Where recentfs serves several network namespaces it prints the rules of
each, or of the one that is named.`,
		Example: "  recentfs rules\n  recentfs rules --netns dmz",
		Args:    cobra.NoArgs,
		RunE: running(func(cmd *cobra.Command, _ []string) error {
			text, err := ask(path, strings.TrimSpace("rules "+netns))
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		}),
	}
	controlFlag(cmd, &path)
	cmd.Flags().StringVar(&netns, "netns", "", "network namespace `NAME` whose rules to print")
	return cmd
}

func reloadCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make a running recentfs read its rules again",
		Long: `reload swaps the rules between two packets. Tables that still have a rule keep
their addresses. Where the file has an error, the old rules stay.`,
		Example: "  recentfs reload",
		Args:    cobra.NoArgs,
		RunE: running(func(*cobra.Command, []string) error {
			_, err := ask(path, "reload")
			return err
		}),
	}
	controlFlag(cmd, &path)
	return cmd
}
