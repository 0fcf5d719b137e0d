package api_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/sidecar/peering"
	"github.com/ipdc/ipdc/wire"
)

var _ api.Service = (*service)(nil)

// service is a Service in memory that keeps the contract: jobs of another
// tenant are E_NOT_FOUND, idempotency keys are per tenant.
type service struct {
	mu       sync.Mutex
	jobs     []*record
	changed  chan struct{}   // closed and replaced at each change
	fail     error           // returned by Job when set
	panics   bool            // Job panics
	filter   api.JobFilter   // of the last Jobs
	pruned   api.PruneFilter // of the last Prune
	shutdown int
	drained  wire.Drain
	refs     []string // that were asked for
	yielding int      // Events calls that wait in yield

	gang func(context.Context, string) (*peering.Stream, error) // leads to tasks; nil = none
}

type record struct {
	wire.Job
	key    string
	events []jobspec.Event
	log    []byte
}

func newService() *service { return &service{changed: make(chan struct{})} }

// update changes something and wakes those who follow.
func (s *service) update(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *service) Submit(_ context.Context, sub api.Submission) (j wire.Job, created bool, err error) {
	s.update(func() {
		for _, r := range s.jobs {
			if sub.IdempotencyKey == "" || r.Tenant != sub.Tenant || r.key != sub.IdempotencyKey {
				continue
			}
			if j = r.Job; r.Spec.Name != sub.Spec.Name {
				err = jobspec.KindDupKey.Errorf("the key was used for another spec")
			}
			return
		}
		r := &record{key: sub.IdempotencyKey}
		r.ID, r.Tenant, r.Spec, r.State = jobspec.NewJobID(time.Now()), sub.Tenant, sub.Spec, jobspec.JobAccepted
		s.jobs = append(s.jobs, r)
		s.emitLocked(r, jobspec.EventState, string(r.State))
		j, created = r.Job, true
	})
	return j, created, err
}

func (s *service) Plan(_ context.Context, sub api.Submission) (wire.Plan, error) {
	c, err := sub.Spec.CID()
	return wire.Plan{SpecCID: c, Reasons: []string{"planned for " + sub.Tenant}}, err
}

func (s *service) find(tenant, ref string) (*record, error) {
	s.refs = append(s.refs, ref)
	for _, r := range slices.Backward(s.jobs) {
		if r.Tenant == tenant && (r.ID.String() == ref || r.Spec.Name == ref || ref == "@last") {
			return r, nil
		}
	}
	return nil, jobspec.KindNotFound.Errorf("no job has this id or name")
}

func (s *service) Job(_ context.Context, tenant, ref string) (wire.Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panics {
		panic("out of cheese in /var/lib/secret")
	}
	if s.fail != nil {
		return wire.Job{}, s.fail
	}
	r, err := s.find(tenant, ref)
	if err != nil {
		return wire.Job{}, err
	}
	return r.Job, nil
}

func (s *service) Jobs(_ context.Context, tenant string, f api.JobFilter) (out []wire.Job, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filter = f
	for _, r := range slices.Backward(s.jobs) {
		if r.Tenant == tenant || tenant == api.AllTenants {
			out = append(out, r.Job)
		}
	}
	return out, nil
}

func (s *service) Stop(_ context.Context, tenant, ref string) (j wire.Job, err error) {
	s.update(func() {
		var r *record
		if r, err = s.find(tenant, ref); err == nil {
			s.endLocked(r, jobspec.JobStopped)
			j = r.Job
		}
	})
	return j, err
}

func (s *service) Remove(_ context.Context, tenant, ref string) (err error) {
	s.update(func() {
		var r *record
		if r, err = s.find(tenant, ref); err != nil {
			return
		}
		if !r.State.Final() {
			err = jobspec.KindConflict.Errorf("job %s is %s", r.ID, r.State)
			return
		}
		s.jobs = slices.DeleteFunc(s.jobs, func(x *record) bool { return x == r })
	})
	return err
}

func (s *service) Publish(_ context.Context, tenant, ref string, to []string) (wire.Deliveries, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(tenant, ref)
	if err != nil {
		return wire.Deliveries{}, err
	}
	res := wire.Deliveries{Job: r.ID}
	for _, text := range to {
		res.Deliveries = append(res.Deliveries, jobspec.Delivery{Kind: jobspec.DeliverPublish, To: text, State: jobspec.DeliveryWaiting})
	}
	return res, nil
}

func (s *service) Merge(_ context.Context, tenant, ref string, how jobspec.Merge) (wire.Merging, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(tenant, ref)
	if err != nil {
		return wire.Merging{}, err
	}
	return wire.Merging{Job: r.ID, Merge: how, Parts: 2}, nil
}

func (s *service) Prune(_ context.Context, tenant string, f api.PruneFilter) (p wire.Pruned, _ error) {
	s.update(func() {
		s.pruned = f
		s.jobs = slices.DeleteFunc(s.jobs, func(r *record) bool {
			gone := r.Tenant == tenant && r.State.Final()
			if gone {
				p.Jobs = append(p.Jobs, wire.PrunedJob{ID: r.ID, State: r.State})
			}
			return gone && !f.DryRun
		})
	})
	return p, nil
}

func (s *service) Events(ctx context.Context, tenant, ref string, after int64, follow bool, yield func(jobspec.Event) error) error {
	for {
		s.mu.Lock()
		r, err := s.find(tenant, ref)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		events, final, changed := slices.Clone(r.events), r.State.Final(), s.changed
		s.yielding++
		s.mu.Unlock()
		for _, e := range events {
			if e.Seq <= after {
				continue
			}
			if err = yield(e); err != nil {
				break
			}
			after = e.Seq
		}
		s.mu.Lock()
		s.yielding--
		s.mu.Unlock()
		if err != nil || final || !follow {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *service) frames(ctx context.Context, tenant, ref string, follow bool, w io.Writer) error {
	sent := 0
	for {
		s.mu.Lock()
		r, err := s.find(tenant, ref)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		log, final, changed := slices.Clone(r.log[sent:]), r.State.Final(), s.changed
		s.mu.Unlock()
		if _, err := w.Write(log); err != nil {
			return err
		}
		sent += len(log)
		if final || !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// LogEvents gives each frame as a piece; places are counted over all frames.
func (s *service) LogEvents(ctx context.Context, tenant, ref, _ string, after api.LogPlace, follow bool, yield func(api.LogPiece) error) error {
	if err := yield(api.LogPiece{End: after}); err != nil {
		return err
	}
	pos := int64(0)
	return s.frames(ctx, tenant, ref, follow, writerFunc(func(b []byte) (int, error) {
		r := bytes.NewReader(b)
		for r.Len() > 0 {
			h, err := jobspec.ReadLogHeader(r)
			if err != nil {
				return 0, err
			}
			data := make([]byte, h.Len)
			if _, err := io.ReadFull(r, data); err != nil {
				return 0, err
			}
			if pos += int64(h.Len); pos <= after.Offset {
				continue
			}
			if err := yield(api.LogPiece{End: api.LogPlace{Task: int(h.Task), Try: 1, Offset: pos}, Stream: h.Stream, Data: data}); err != nil {
				return 0, err
			}
		}
		return len(b), nil
	}))
}

// Items says that the job has two items, of which the second failed.
func (s *service) Items(ctx context.Context, tenant, ref string, after api.ItemPlace, yield func(wire.Item) error) error {
	if _, err := s.Job(ctx, tenant, ref); err != nil {
		return err
	}
	for i, state := range []jobspec.ItemState{jobspec.ItemDone, jobspec.ItemFailed} {
		at := api.ItemPlace{Task: 3, Index: i}
		if !after.Before(at) {
			continue
		}
		if err := yield(wire.Item{At: at.String(), ItemEnd: jobspec.ItemEnd{Path: string(state), State: state, Task: 3}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) Node(context.Context) (wire.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return wire.Node{ID: "12D3KooWTest", Jobs: len(s.jobs), Degraded: []string{"domain: /run/secret cannot be read"}}, s.fail
}

func (s *service) GC(context.Context) (wire.Collected, error) {
	return wire.Collected{Blocks: 3, Bytes: 7}, nil
}

func (s *service) Replicate(_ context.Context, _ string, _ jobspec.CID, n int) (wire.Replicas, error) {
	return wire.Replicas{Want: n, Holders: []identity.ID{"12D3KooWTest"}}, nil
}

func (s *service) Replicas(context.Context) (map[string]wire.Replicas, error) { return nil, nil }

func (s *service) Drain(_ context.Context, w wire.DrainWish) (d wire.Drain, _ error) {
	s.update(func() {
		s.drained = wire.Drain{State: wire.Draining}
		if w.Undo {
			s.drained.State = wire.DrainNo
		}
		d = s.drained
	})
	return d, nil
}

func (s *service) Drained(context.Context) (d wire.Drain, _ error) {
	s.update(func() { d = s.drained })
	return d, nil
}

func (s *service) Shutdown() { s.update(func() { s.shutdown++ }) }

// add makes a job without going through the API.
func (s *service) add(tenant, name string) jobspec.JobID {
	j, _, err := s.Submit(context.Background(), api.Submission{Tenant: tenant, Spec: jobspec.Spec{Name: name}})
	if err != nil {
		panic(err)
	}
	return j.ID
}

// emit adds an event to a job's history.
func (s *service) emit(id jobspec.JobID, detail string) {
	s.update(func() { s.emitLocked(s.byID(id), jobspec.EventProgress, detail) })
}

// end makes a job final.
func (s *service) end(id jobspec.JobID) {
	s.update(func() { s.endLocked(s.byID(id), jobspec.JobSucceeded) })
}

// print adds a frame to a job's log.
func (s *service) print(id jobspec.JobID, stream jobspec.LogStream, task uint32, text string) {
	s.update(func() {
		r := s.byID(id)
		r.log = append(jobspec.LogHeader{Stream: stream, Task: task, Len: uint32(len(text))}.Append(r.log), text...)
	})
}

func (s *service) byID(id jobspec.JobID) *record {
	i := slices.IndexFunc(s.jobs, func(r *record) bool { return r.ID == id })
	return s.jobs[i]
}

func (s *service) endLocked(r *record, state jobspec.JobState) {
	r.State = state
	s.emitLocked(r, jobspec.EventState, string(state))
}

func (s *service) emitLocked(r *record, t jobspec.EventType, detail string) {
	r.events = append(r.events, jobspec.Event{
		Job: r.ID, Seq: int64(len(r.events) + 1), Time: time.Now().UTC(), Type: t, Detail: detail,
	})
}
