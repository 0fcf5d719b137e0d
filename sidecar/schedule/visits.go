package schedule

import (
	"context"
	"errors"
	"sync"

	"github.com/ipdc/ipdc/jobspec"
)

// visits are looks at schedules in the background: so many at once, and one at
// a time of each schedule, so that one whose job is long in coming holds up no
// other. They go on when whoever asked for them has gone, and end with stop.
type visits struct {
	most int // at once

	wg      sync.WaitGroup // of the workers
	mu      sync.Mutex     // guards what follows
	queue   []*visit
	going   map[jobspec.ScheduleID]context.CancelFunc
	workers int
	stopped bool
}

// visit is one look.
type visit struct {
	id   jobspec.ScheduleID
	ctx  context.Context // of who asked: its values only
	run  func(ctx context.Context) error
	done chan struct{} // closed by the worker, or by stop
	err  error         // set before done is closed
}

// errStopped is what a look ends with that did not begin.
var errStopped = errors.New("the node stops")

// add has a schedule looked at by run, which begins after the call. One that
// waits already is returned as it is.
func (v *visits) add(ctx context.Context, id jobspec.ScheduleID, run func(ctx context.Context) error) *visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range v.queue {
		if o.id == id {
			return o
		}
	}
	o := &visit{id: id, ctx: context.WithoutCancel(ctx), run: run, done: make(chan struct{})}
	if v.stopped {
		o.end(errStopped)
		return o
	}
	v.queue = append(v.queue, o)
	if v.workers < v.most {
		v.workers++
		v.wg.Go(v.work)
	}
	return o
}

func (o *visit) end(err error) {
	o.err = err
	close(o.done)
}

// work makes visits until none can be begun.
func (v *visits) work() {
	for {
		o, ctx, cancel := v.begin()
		if o == nil {
			return
		}
		err := o.run(ctx)
		cancel()
		v.mu.Lock()
		delete(v.going, o.id)
		v.mu.Unlock()
		o.end(err)
	}
}

// begin takes the next visit whose schedule is not being looked at.
func (v *visits) begin() (*visit, context.Context, context.CancelFunc) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for n, o := range v.queue {
		if v.going[o.id] != nil {
			continue // whose worker comes back for it
		}
		v.queue = append(v.queue[:n:n], v.queue[n+1:]...)
		ctx, cancel := context.WithCancel(o.ctx)
		v.going[o.id] = cancel
		return o, ctx, cancel
	}
	v.workers--
	return nil, nil, nil
}

// stop ends all visits and waits for them. None begins after it.
func (v *visits) stop() {
	v.mu.Lock()
	v.stopped = true
	for _, o := range v.queue {
		o.end(errStopped)
	}
	v.queue = nil
	for _, cancel := range v.going {
		cancel()
	}
	v.mu.Unlock()
	v.wg.Wait()
}
