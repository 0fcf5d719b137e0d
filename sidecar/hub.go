package sidecar

import (
	"sync"

	"github.com/ipdc/ipdc/jobspec"
)

// hub wakes those who follow a job when its record has changed. It carries no
// data: followers read the store, so that a slow one holds up nobody.
type hub struct {
	mu    sync.Mutex
	wakes map[jobspec.JobID]chan struct{}
}

func newHub() *hub { return &hub{wakes: map[jobspec.JobID]chan struct{}{}} }

// next returns a channel that is closed by the next call of notify for job.
// It must be taken before the store is read. Who finds there that nothing more
// will happen to the job calls notify, as nobody else will.
func (h *hub) next(job jobspec.JobID) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.wakes[job]
	if c == nil {
		c = make(chan struct{})
		h.wakes[job] = c
	}
	return c
}

func (h *hub) notify(job jobspec.JobID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.wakes[job]; c != nil {
		close(c)
		delete(h.wakes, job)
	}
}
