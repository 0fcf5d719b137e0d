package quorum

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func aCID(t *testing.T, s string) jobspec.CID {
	t.Helper()
	c, err := jobspec.ParseCID(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newJobs(n int) (ids []jobspec.JobID) {
	for i := range n {
		ids = append(ids, jobspec.NewJobID(time.UnixMilli(int64(i+1))))
	}
	return ids
}

// What was ended once stays so, also by another process of the same owner; the
// same again is no error.
func TestF29EndIsOnce(t *testing.T) {
	m, id := newMachine(), newJobs(1)[0]
	result := aCID(t, "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	if f := m.enter(wire.Recorded{Job: id, Owner: "a", Epoch: 1}); f != nil {
		t.Fatal(f)
	}
	won := wire.Ending{Claim: wire.Claim{Job: id, Epoch: 1}, State: jobspec.JobSucceeded, Result: result}
	for range 2 {
		if f := m.end(won, "a"); f != nil {
			t.Errorf("end: %v", f)
		}
	}
	failed := won
	failed.State, failed.Result = jobspec.JobFailed, jobspec.CID{}
	if f := m.end(failed, "a"); f == nil || f.Kind != jobspec.KindLeaseLost {
		t.Errorf("a job that succeeded ends again as failed: %v", f)
	}
	if e, _ := m.find(id); e.State != jobspec.JobSucceeded || e.Result != result || len(m.over) != 1 {
		t.Errorf("the record says %+v, %d are over", e, len(m.over))
	}
}

// What an owner has ended itself is not lost to it; another's is.
func TestRenewedAfterEnd(t *testing.T) {
	m, ids := newMachine(), newJobs(2)
	for _, id := range ids {
		m.enter(wire.Recorded{Job: id, Owner: "a", Epoch: 1})
		m.end(wire.Ending{Claim: wire.Claim{Job: id, Epoch: 1}, State: jobspec.JobSucceeded}, "a")
	}
	claims := []wire.Claim{{Job: ids[0], Epoch: 1}}
	if got := m.renewed("a", renewal{Claims: claims}); len(got.Lost) != 0 || len(got.Granted) != 0 {
		t.Errorf("its own end: %+v, want nothing", got)
	}
	if got := m.renewed("b", renewal{Claims: claims}); len(got.Lost) != 1 { // the control
		t.Errorf("another's: %+v, want it as lost", got)
	}
}

// An owner of more jobs than one message names hears of one that it does not
// know of, though it is the last by id.
func TestGrantOfManyJobs(t *testing.T) {
	m, ids := newMachine(), newJobs(3*wire.MaxClaims)
	var claims []wire.Claim
	for i, id := range ids {
		if m.enter(wire.Recorded{Job: id, Owner: "a", Epoch: 1}); i != len(ids)-2 {
			claims = append(claims, wire.Claim{Job: id, Epoch: 1})
		}
	}
	var granted []jobspec.JobID
	for _, r := range renewals(1, claims) {
		if len(r.Claims) > wire.MaxClaims {
			t.Errorf("%d claims in one message", len(r.Claims))
		}
		for _, e := range m.renewed("a", r).Granted {
			granted = append(granted, e.Job)
		}
	}
	if len(granted) != 1 || granted[0] != ids[len(ids)-2] {
		t.Errorf("granted %v, want only %s", granted, ids[len(ids)-2])
	}
	if n := len(renewals(1, nil)); n != 1 {
		t.Errorf("without jobs there are %d signs of life", n)
	}
}

// One member cannot take all room of the record.
func TestShareOfOneMember(t *testing.T) {
	m := newMachine()
	ids := newJobs(maxOwn + 2)
	for _, id := range ids[:maxOwn] {
		if f := m.enter(wire.Recorded{Job: id, Owner: "a", Epoch: 1}); f != nil {
			t.Fatal(f)
		}
	}
	if f := m.enter(wire.Recorded{Job: ids[maxOwn], Owner: "a", Epoch: 1}); f == nil || f.Kind != jobspec.KindLimit {
		t.Errorf("one more of it: %v, want a refusal", f)
	}
	if f := m.enter(wire.Recorded{Job: ids[maxOwn+1], Owner: "b", Epoch: 1}); f != nil {
		t.Errorf("one of another: %v", f)
	}
}

// What is entered is used as a name and a path at whoever owns the job later.
func TestEnterable(t *testing.T) {
	c := aCID(t, "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	good := wire.Recorded{Job: newJobs(1)[0], Tenant: "local", Key: "k 1", SpecCID: c, Spec: c, Owner: "a", Epoch: 1}
	long := string(make([]byte, maxName+1))
	for name, tt := range map[string]struct {
		with func(*wire.Recorded)
		ok   bool
	}{
		"good":          {func(*wire.Recorded) {}, true},
		"an heir's":     {func(e *wire.Recorded) { e.Epoch = 3 }, true},
		"no key":        {func(e *wire.Recorded) { e.Key = "" }, true},
		"a path":        {func(e *wire.Recorded) { e.Job = ".." }, false},
		"no job":        {func(e *wire.Recorded) { e.Job = "" }, false},
		"no tenant":     {func(e *wire.Recorded) { e.Tenant = "" }, false},
		"a long tenant": {func(e *wire.Recorded) { e.Tenant = long }, false},
		"a long key":    {func(e *wire.Recorded) { e.Key = long }, false},
		"a line's end":  {func(e *wire.Recorded) { e.Key = "a\nb" }, false},
		"no spec":       {func(e *wire.Recorded) { e.Spec = jobspec.CID{} }, false},
		"no epoch":      {func(e *wire.Recorded) { e.Epoch = 0 }, false},
		"another's":     {func(e *wire.Recorded) { e.Owner = "b" }, false},
	} {
		e := good
		tt.with(&e)
		if err := enterable(e, "a"); (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", name, err, tt.ok)
		}
	}
}

// A keeper that does not lead any more takes no signs of life.
func TestHearsAfterItsReign(t *testing.T) {
	q := &Quorum{cfg: Config{Lease: time.Minute}}
	if err := q.hears("a", 1); err != errNotLeader {
		t.Errorf("hears(no reign) = %v, want %v", err, errNotLeader)
	}
	q.reign.seen = map[identity.ID]sign{"old": {at: time.Now().Add(-time.Hour)}}
	if err := q.hears("a", 1); err != nil {
		t.Fatal(err)
	}
	q.forget()
	if n := len(q.reign.seen); n != 1 || q.reign.seen["a"].joined != 1 {
		t.Errorf("%d signs are kept, want the new one: %v", n, q.reign.seen)
	}
}

// Signs of life that a member gave before its leave, and that come after it,
// make it neither a keeper nor an heir. Those of its next membership do.
func TestSignsAfterALeave(t *testing.T) {
	for name, says := range map[string]int64{"says since when": 5, "does not say": 0} {
		t.Run(name, func(t *testing.T) {
			q := &Quorum{cfg: Config{Lease: time.Minute, Revoked: func(identity.ID) bool { return false }}}
			if err := q.parts("a", says); !errors.Is(err, errNotLeader) {
				t.Errorf("parts(no reign) = %v, want %v", err, errNotLeader)
			}
			q.reign.seen, q.reign.left = map[identity.ID]sign{}, map[identity.ID]int64{}
			if err := q.hears("a", 5); err != nil || q.lively()["a"] != 5 { // the control
				t.Errorf("before: %v, live = %v, want a", err, q.lively())
			}
			if err := q.parts("a", says); err != nil {
				t.Fatal(err)
			}
			for _, late := range []int64{5, 0} {
				if err := q.hears("a", late); err != nil || len(q.lively()) != 0 {
					t.Errorf("a late sign: %v, live = %v", err, q.lively())
				}
			}
			if err := q.hears("a", 9); err != nil || q.lively()["a"] != 9 {
				t.Errorf("a member again: %v, live = %v", err, q.lively())
			}
		})
	}
}

// Who keeps the record is believed to keepers, and to others only while none of
// the keepers lives.
func TestHeeds(t *testing.T) {
	var live []identity.ID
	q := &Quorum{cfg: Config{Self: "me", Live: func() []identity.ID { return live }, Revoked: func(id identity.ID) bool { return id == "bad" }}}
	for _, tt := range []struct {
		known, live []identity.ID
		from        identity.ID
		want        bool
	}{
		{nil, []identity.ID{"x"}, "x", true},
		{[]identity.ID{"a", "b"}, []identity.ID{"a", "x"}, "a", true},
		{[]identity.ID{"a", "b"}, []identity.ID{"a", "x"}, "x", false},
		{[]identity.ID{"a", "b"}, []identity.ID{"x"}, "x", true},
		{[]identity.ID{"me", "bad"}, []identity.ID{"bad", "x"}, "x", true},
	} {
		q.is.Voters, live = tt.known, tt.live
		if got := q.heeds(tt.from); got != tt.want {
			t.Errorf("heeds(%s), knowing %v, live %v = %v, want %v", tt.from, tt.known, tt.live, got, tt.want)
		}
	}
	q.is.Voters = []identity.ID{"a"}
	if !q.keeps("a") || q.keeps("x") {
		t.Errorf("a does: %v, x does: %v", q.keeps("a"), q.keeps("x"))
	}
}

// What is no id is never noted as the domain's record.
func TestRecordID(t *testing.T) {
	for id, ok := range map[string]bool{"": false, "x": false, "0123456789abcdef0123456789abcdef": true, "0123456789abcdef0123456789abcdeg": false, "0123456789abcdex0123456789abcdef": false} {
		if err := checkRecord(id); (err == nil) != ok {
			t.Errorf("checkRecord(%q) = %v, want ok %v", id, err, ok)
		}
	}
}

// However many jobs end, a schedule that was removed is known as such, also after
// the record was read again: one that is not known is entered again.
func TestRemovedScheduleIsRemembered(t *testing.T) {
	m, ids := newMachine(), newJobs(maxOver+3)
	end := func(id jobspec.JobID, schedule bool) {
		t.Helper()
		if f := m.enter(wire.Recorded{Job: id, Owner: "a", Epoch: 1, Schedule: schedule}); f != nil {
			t.Fatal(f)
		}
		if f := m.end(wire.Ending{Claim: wire.Claim{Job: id, Epoch: 1}, State: jobspec.JobStopped}, "a"); f != nil {
			t.Fatal(f)
		}
	}
	removed, first := ids[0], ids[1]
	end(removed, true)
	for _, id := range ids[1 : maxOver+2] {
		end(id, false)
	}
	snap, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Restore(io.NopCloser(bytes.NewReader(b))); err != nil {
		t.Fatal(err)
	}
	end(ids[maxOver+2], false)
	if e, ok := m.find(removed); !ok || !e.Over() {
		t.Errorf("the record says of the schedule %+v, %v", e, ok)
	}
	if _, ok := m.find(first); ok { // the control
		t.Error("the first job that ended is remembered")
	}
	if n := m.living(); n != 0 || len(m.jobs) != maxOver+1 {
		t.Errorf("%d of %d entries are not over, want 0 of %d", n, len(m.jobs), maxOver+1)
	}
}
