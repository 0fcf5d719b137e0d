package quorum

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Bounds of the record: what is in it has a few hundred bytes for each job.
const (
	maxLive  = 20_000 // jobs that are not over
	maxOwn   = 10_000 // of them of one owner, so that nobody can take all of the room
	maxOver  = 10_000 // jobs that are, and as many schedules: the oldest are forgotten
	maxPast  = 16     // earlier owners that are remembered of a job
	maxEntry = 8 << 10
)

// command is one entry of the replicated log: one of its fields is set.
type command struct {
	Enter *wire.Recorded  `json:"enter,omitempty"`
	Grant *grant          `json:"grant,omitempty"`
	End   *wire.Ending    `json:"end,omitempty"`
	Amend *wire.Amendment `json:"amend,omitempty"`
	By    identity.ID     `json:"by,omitempty"` // whose Ending or Amendment it is
}

// grant makes another member the owner of a job, if the epoch is still that.
type grant struct {
	wire.Claim
	To identity.ID `json:"to"`
}

// machine is the record as it follows from the log: the same on all keepers, as
// it looks at no clock and at nothing else outside of it.
type machine struct {
	mu   sync.RWMutex
	jobs map[jobspec.JobID]wire.Recorded
	over []jobspec.JobID // those that are, in the order in which they ended
	gone []jobspec.JobID // schedules that were removed, likewise
}

var _ raft.FSM = (*machine)(nil)

func newMachine() *machine { return &machine{jobs: map[jobspec.JobID]wire.Recorded{}} }

// Apply implements raft.FSM. It returns a jobspec.Failure, or nil.
func (m *machine) Apply(l *raft.Log) any {
	var c command
	if err := json.Unmarshal(l.Data, &c); err != nil {
		return jobspec.Failure{Kind: jobspec.KindInternal, Detail: "a log entry cannot be read: " + err.Error()}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var f *jobspec.Failure
	switch {
	case c.Enter != nil:
		f = m.enter(*c.Enter)
	case c.Grant != nil:
		f = m.grant(*c.Grant)
	case c.End != nil:
		f = m.end(*c.End, c.By)
	case c.Amend != nil:
		f = m.amend(*c.Amend, c.By)
	}
	if f != nil {
		return *f
	}
	return nil
}

// enter takes a new job in. The same again changes nothing.
func (m *machine) enter(e wire.Recorded) *jobspec.Failure {
	if old, ok := m.jobs[e.Job]; ok {
		if old.SpecCID == e.SpecCID && old.Owner == e.Owner && old.Epoch == e.Epoch {
			return nil
		}
		return lost(old)
	}
	if live := m.living(); live >= maxLive {
		return &jobspec.Failure{
			Kind: jobspec.KindLimit, Detail: fmt.Sprintf("%d jobs of the domain have not ended, its keepers hold at most %d", live, maxLive),
			Hint: "submit when some have ended",
		}
	}
	if own := m.owned(e.Owner, maxOwn); own >= maxOwn {
		return &jobspec.Failure{
			Kind: jobspec.KindLimit, Detail: fmt.Sprintf("%d jobs of %s have not ended, the domain's keepers hold at most %d of one member", own, e.Owner, maxOwn),
			Hint: "submit when some have ended, or at another member",
		}
	}
	if f := m.fire(e); f != nil {
		return f
	}
	e.State, e.Result, e.Past, e.Detail = "", jobspec.CID{}, nil, ""
	m.jobs[e.Job] = e
	return nil
}

// fire refuses the job of an instant to whoever does not own the schedule by its
// newest epoch, and moves the schedule's cursor: the next owner begins there. Its
// owner runs it, so that any other member may have it next. Of a schedule that is
// not known, as after the record was lost, any job is taken.
func (m *machine) fire(e wire.Recorded) *jobspec.Failure {
	if e.Fired == nil {
		return nil
	}
	s, ok := m.jobs[e.Fired.Schedule.Recorded()]
	switch {
	case !ok:
	case s.Over() || s.Owner != e.Owner || s.Epoch != e.Fired.Epoch:
		return lost(s)
	default:
		if e.Fired.Kind != jobspec.InstantManual {
			s.Cursor = max(s.Cursor, e.Fired.Slot)
		}
		s.Past = nil
		m.jobs[s.Job] = s
	}
	return nil
}

// amend takes over what the owner by the newest epoch says of a schedule. As with
// fire, that one runs it.
func (m *machine) amend(a wire.Amendment, by identity.ID) *jobspec.Failure {
	e, ok := m.jobs[a.Job]
	if !ok {
		return unknown(a.Job)
	}
	if e.Epoch != a.Epoch || e.Owner != by || e.Over() {
		return lost(e)
	}
	if a.Counts != nil {
		e.Counts = a.Counts
	} else {
		e.Paused = a.Paused
	}
	if e.Schedule {
		e.Past = nil
	}
	m.jobs[a.Job] = e
	return nil
}

// owned counts the live jobs of an owner. It does not look when there are fewer
// than least in all.
func (m *machine) owned(by identity.ID, least int) (n int) {
	if m.living() < least {
		return 0
	}
	for _, e := range m.jobs {
		if !e.Over() && e.Owner == by {
			n++
		}
	}
	return n
}

// grant moves a job to its next owner. A schedule that goes to one that has had
// it begins its round of all members anew.
func (m *machine) grant(g grant) *jobspec.Failure {
	e, ok := m.jobs[g.Job]
	if !ok {
		return unknown(g.Job)
	}
	if e.Over() || e.Epoch != g.Epoch || e.Owner == g.To {
		return lost(e)
	}
	if e.Schedule && slices.Contains(e.Past, g.To) {
		e.Past = nil
	}
	past := append(slices.Clone(e.Past), e.Owner)
	e.Past = past[max(0, len(past)-maxPast):]
	e.Owner = g.To
	e.Epoch++
	m.jobs[g.Job] = e
	return nil
}

// end refuses whoever is not the owner by the newest epoch, and another end than
// the first one: that is what makes a result the only one. The same again
// changes nothing.
func (m *machine) end(x wire.Ending, by identity.ID) *jobspec.Failure {
	e, ok := m.jobs[x.Job]
	if !ok {
		return unknown(x.Job)
	}
	same := e.State == x.State && e.Result == x.Result
	if e.Epoch != x.Epoch || e.Owner != by || e.Over() && !same {
		return lost(e)
	}
	if e.Over() {
		return nil
	}
	e.State, e.Result, e.Detail = x.State, x.Result, x.Detail
	m.jobs[x.Job] = e
	list := m.ended(e)
	*list = append(*list, e.Job)
	for len(*list) > maxOver {
		delete(m.jobs, (*list)[0])
		*list = (*list)[1:]
	}
	return nil
}

// ended is the list that an entry which is over stands in. Schedules have one of
// their own, as jobs end far more often: a schedule that is not in the record is
// entered again by whoever had it.
func (m *machine) ended(e wire.Recorded) *[]jobspec.JobID {
	if e.Schedule {
		return &m.gone
	}
	return &m.over
}

// living is how many entries are not over.
func (m *machine) living() int { return len(m.jobs) - len(m.over) - len(m.gone) }

// lost says who owns the job now.
func lost(e wire.Recorded) *jobspec.Failure {
	f := jobspec.Failure{
		Kind: jobspec.KindLeaseLost, Where: "job " + e.Job.String(),
		Detail: fmt.Sprintf("%s owns it now (epoch %d)", e.Owner, e.Epoch),
		Hint:   "`ipdc job describe " + e.Job.String() + "` shows how it goes there",
	}
	if e.Schedule {
		f.Where, f.Hint = "schedule "+e.Job.String(), "look at it there: ipdc cron show "+e.Job.String()
	}
	if e.Over() {
		f.Detail = fmt.Sprintf("it is %s, by %s (epoch %d)", e.State, e.Owner, e.Epoch)
	}
	return &f
}

func unknown(id jobspec.JobID) *jobspec.Failure {
	return &jobspec.Failure{Kind: jobspec.KindNotFound, Where: "job " + id.String(), Detail: "is not in the record of the domain's keepers"}
}

// find returns what the record says of a job.
func (m *machine) find(id jobspec.JobID) (wire.Recorded, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.jobs[id]
	return e, ok
}

// live returns the entries that are not over and of which want is true.
func (m *machine) live(want func(wire.Recorded) bool) (list []wire.Recorded) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, e := range m.jobs {
		if !e.Over() && want(e) {
			list = append(list, e)
		}
	}
	return list
}

// image is a machine as it is written to disk.
type image struct {
	Jobs []wire.Recorded `json:"jobs"`
	Over []jobspec.JobID `json:"over"`
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s := image{Over: slices.Concat(m.gone, m.over)}
	for _, e := range m.jobs {
		s.Jobs = append(s.Jobs, e)
	}
	return s, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	var s image
	if err := json.NewDecoder(r).Decode(&s); err != nil {
		return fmt.Errorf("read snapshot of the record: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs, m.over, m.gone = map[jobspec.JobID]wire.Recorded{}, nil, nil
	for _, e := range s.Jobs {
		m.jobs[e.Job] = e
	}
	for _, id := range s.Over {
		list := m.ended(m.jobs[id])
		*list = append(*list, id)
	}
	return nil
}

// Persist implements raft.FSMSnapshot.
func (s image) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		_ = sink.Cancel()
		return fmt.Errorf("write snapshot of the record: %w", err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (image) Release() {}
