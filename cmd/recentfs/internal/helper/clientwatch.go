package helper

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// watchAgain is how long Watch waits before it asks again, where the helper has ended.
const watchAgain = time.Second

// Watch implements Host. The helper sends a byte for each call of changed. If it ends,
// nobody knows what was missed, and another is asked.
func (c *Client) Watch(changed func()) (stop func(), err error) {
	first, err := c.watch()
	if err != nil {
		return nil, err
	}
	stopped, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for conn := first; ; conn, _ = c.watch() {
			if conn != nil {
				changed() // it watches since now
				follow(conn, changed, stopped)
			}
			select {
			case <-stopped:
				return
			case <-time.After(watchAgain):
			}
		}
	}()
	return func() {
		close(stopped)
		<-done
	}, nil
}

// follow calls changed for what the helper sends, until it ends, or until stopped is
// closed.
func follow(conn *net.UnixConn, changed func(), stopped <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 64); ; changed() {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	select {
	case <-stopped:
	case <-ended:
	}
	conn.Close()
	<-ended
}

// watch asks the helper to watch, and returns when it does.
func (c *Client) watch() (*net.UnixConn, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	err = conn.SetDeadline(time.Now().Add(answerTime(watch)))
	if err == nil {
		err = send(conn, request{Do: watch})
	}
	if err == nil {
		var first [1]byte
		if _, err = conn.Read(first[:]); err == nil && first[0] != watches {
			err = errors.New("it does not watch")
		}
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("helper %s: %s: %w", c.path, watch, err)
	}
	return conn, nil
}
