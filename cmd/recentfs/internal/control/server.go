package control

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Server is the control socket of a running recentfs.
type Server struct {
	socket  net.Listener
	limiter *limiter
	http    http.Server
}

// Listen makes the socket at path. It fails where another recentfs listens
// there. Clients wait until Serve.
func Listen(path string) (*Server, error) {
	socket, err := listen(path)
	if err != nil {
		return nil, err
	}
	s := newServer(socket)
	var descriptors unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &descriptors); err == nil {
		s.limiter.max = connections(descriptors.Cur)
	}
	return s, nil
}

// connections is how many there may be, where a process may have so many descriptors:
// a reload needs some too.
func connections(descriptors uint64) int {
	return int(min(max(descriptors/8, 1), maxConnections))
}

func newServer(socket net.Listener) *Server {
	s := &Server{socket: socket, limiter: &limiter{Listener: socket, max: maxConnections, peerOf: peerOf}}
	s.http.ReadTimeout = clientTime  // from accept to the end of the request
	s.http.WriteTimeout = clientTime // a handler sets it again after its work
	s.http.MaxHeaderBytes = maxHeader
	s.http.ConnContext = keepConn
	s.http.ErrorLog = log.New(warnings{}, "control socket: ", 0)
	s.http.SetKeepAlivesEnabled(false)
	return s
}

// Serve answers requests until Close.
func (s *Server) Serve(d Daemon) error {
	s.http.Handler = newHandler(d)
	err := s.http.Serve(s.limiter)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close removes the socket and ends Serve. Requests at work have closeTime to be
// answered, and clients to read the answers.
func (s *Server) Close() error {
	err := s.socket.Close()
	s.limiter.closeUnasked()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	return err
}

// connKey is the key of a request's connection among its context's values.
type connKey struct{}

func keepConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf is the connection that a request came by.
func connOf(r *http.Request) *conn { return r.Context().Value(connKey{}).(*conn) }

// warnings logs what net/http reports.
type warnings struct{}

func (warnings) Write(line []byte) (int, error) {
	logrus.Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}
