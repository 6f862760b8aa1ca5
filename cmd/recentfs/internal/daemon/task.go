package daemon

import (
	"context"
	"slices"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// A task is a part of a Server. It brings itself up, calls ready, works until
// ctx is done, and takes itself down. It returns before ctx is done only with an
// error, and then leaves nothing behind either.
type task func(ctx context.Context, ready func()) error

// tasks starts tasks one after the other and stops them in reverse.
type tasks struct {
	group   *errgroup.Group
	failed  <-chan struct{} // closed when a task has returned an error
	running []runningTask
}

type runningTask struct {
	stop context.CancelFunc
	done <-chan struct{} // closed when the task has returned
}

func newTasks() *tasks {
	// The group's context is no task's: they do not stop all at once.
	group, ctx := errgroup.WithContext(context.Background())
	return &tasks{group: group, failed: ctx.Done()}
}

// start starts a task and reports whether it is ready. If not, ending is done, or a
// task has failed, and stop says why.
func (ts *tasks) start(ending context.Context, t task) bool {
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	ts.running = append(ts.running, runningTask{stop, done})
	ts.group.Go(func() error {
		defer close(done)
		err := t(ctx, func() { close(ready) })
		select {
		case <-ts.failed:
			if err != nil {
				logrus.Warn(err) // the group keeps the first error only
			}
		default:
		}
		return err
	})
	select {
	case <-ready:
		return true
	case <-ts.failed:
		return false
	case <-ending.Done():
		return false
	}
}

// stop stops all tasks, the last one first, and returns the first error of any.
func (ts *tasks) stop() error {
	for _, t := range slices.Backward(ts.running) {
		t.stop()
		<-t.done
	}
	return ts.group.Wait()
}
