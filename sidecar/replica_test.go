package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// leave takes a node away: it stops, and its blocks are out of reach.
func (f *fleet) leave(b *bench) {
	b.stop()
	f.setAway(b, true)
}

// back is leave undone.
func (f *fleet) back(b *bench) {
	f.setAway(b, false)
	b.start()
}

func (f *fleet) setAway(b *bench, away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away[b] = away
}

// node returns the bench of an id.
func (f *fleet) node(id identity.ID) *bench {
	f.t.Helper()
	i := slices.IndexFunc(f.nodes, func(b *bench) bool { return b.key.ID() == id })
	if i < 0 {
		f.t.Fatalf("no node is %s", id)
	}
	return f.nodes[i]
}

// whole says whether a node can get all files below a root.
func (b *bench) whole(root jobspec.CID) error {
	return tree.Walk(b.t.Context(), b.ipfs, root, ipfs.Budget{}, func(e tree.Entry) error {
		_, err := b.ipfs.Get(b.t.Context(), e.CID)
		return err
	})
}

// held are the names of the copies that a node holds for others.
func (b *bench) held() (names []string) {
	b.t.Helper()
	pins, err := b.ipfs.Pins(b.t.Context(), "held/")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, p := range pins {
		names = append(names, p.Name)
	}
	return names
}

func (b *bench) repair() {
	b.t.Helper()
	if err := b.Repair(b.t.Context()); err != nil {
		b.t.Fatalf("repair: %v", err)
	}
}

// holdings are the rows of a node.
func (b *bench) holdings() (rows []store.Holding) {
	b.t.Helper()
	err := b.store.View(b.t.Context(), func(tx *store.Tx) (err error) {
		rows, err = tx.Holdings()
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return rows
}

// result runs a job that copies a dataset of which each node has a part.
func (f *fleet) result(replicate int) wire.Job {
	f.t.Helper()
	root, files := f.dataset(2)
	s := perItem(root, files)
	s.Replicate = replicate
	j := f.nodes[0].final(f.nodes[0].submit(s))
	if j.State != jobspec.JobSucceeded {
		f.t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	return j
}

// Whichever node is lost after the end, the owner too, another one gives the
// whole result. The control: without a copy it does not.
func TestResultOutlivesANode(t *testing.T) {
	for name, test := range map[string]struct {
		lost, replicate int
		whole           bool
	}{
		"the owner":                  {0, 0, true},
		"a worker":                   {1, 0, true},
		"the other worker":           {2, 0, true},
		"control: the only holder":   {0, 1, false},
		"the owner, of three copies": {0, 3, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, 3)
			j := f.result(test.replicate)
			f.leave(f.nodes[test.lost])
			for i, b := range f.nodes {
				if i == test.lost {
					continue
				}
				if err := b.whole(j.Result); (err == nil) != test.whole {
					t.Errorf("at node %d the result is whole: %v, want %v: %v", i, err == nil, test.whole, err)
				}
			}
		})
	}
}

// A job of a node alone notes nothing, and one with too few members ends and
// says so; who comes later takes a copy.
func TestFewerMembersThanWanted(t *testing.T) {
	alone := newFleet(t, 1)
	if j := alone.result(3); j.Replicas != nil || len(alone.nodes[0].holdings()) > 0 {
		t.Errorf("a node alone has %+v and %d rows", j.Replicas, len(alone.nodes[0].holdings()))
	}
	f := newFleet(t, 3)
	f.leave(f.nodes[2])
	owner := f.nodes[0]
	j := owner.final(owner.submit(spec("DUMMY_WRITE_X=/outputs/x:hello")))
	if j.Replicas == nil || j.Replicas.Want != 2 || len(j.Replicas.Holders) != 2 {
		t.Fatalf("with one other member replicas are %+v, want 2 of 2", j.Replicas)
	}
	s := spec("DUMMY_WRITE_X=/outputs/x:hello", "N=2")
	s.Replicate = 3
	id := owner.submit(s)
	if j = owner.final(id); j.State != jobspec.JobSucceeded || len(j.Replicas.Holders) != 2 || j.Replicas.Want != 3 {
		t.Fatalf("job is %s with replicas %+v, want 2 of 3", j.State, j.Replicas)
	}
	f.back(f.nodes[2])
	owner.repair()
	j, err := owner.Job(t.Context(), "t", id)
	if err != nil || len(j.Replicas.Holders) != 3 || len(f.nodes[2].held()) != 1 {
		t.Errorf("replicas are %+v, the newcomer holds %q, %v", j.Replicas, f.nodes[2].held(), err)
	}
}

// A holder that is away for the time of a repair is replaced, and not before.
// When it is back it lets go of what it is not to hold any more.
func TestRepair(t *testing.T) {
	f := newFleet(t, 4)
	owner := f.nodes[0]
	id := owner.submit(spec("DUMMY_WRITE_X=/outputs/x:hello"))
	j := owner.final(id)
	lost := f.node(j.Replicas.Holders[1])
	f.leave(lost)
	owner.repair()
	owner.later.Store(int64(59 * time.Minute))
	owner.repair()
	if j, _ = owner.Job(t.Context(), "t", id); len(j.Replicas.Holders) != 2 || len(j.Replicas.Away) != 1 {
		t.Fatalf("within the time replicas are %+v, want the holder that is away", j.Replicas)
	}
	owner.later.Store(int64(2 * time.Hour))
	owner.repair()
	if j, _ = owner.Job(t.Context(), "t", id); len(j.Replicas.Holders) != 2 || len(j.Replicas.Away) != 0 || j.Replicas.Holders[1] == lost.key.ID() {
		t.Fatalf("after the time replicas are %+v, want another holder than %s", j.Replicas, lost.key.ID())
	}
	if got := f.node(j.Replicas.Holders[1]).held(); len(got) != 1 || !strings.HasSuffix(got[0], "/result") {
		t.Errorf("the new holder holds %q", got)
	}
	f.back(lost)
	lost.later.Store(int64(2 * time.Hour))
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		lost.repair() // asks, by a message without an answer
		owner.repair()
		if len(lost.held()) == 0 {
			return
		}
	}
	t.Errorf("who came back holds %q for good", lost.held())
}

// A copy that its holder has lost is noticed and made again.
func TestLostCopyIsMadeAgain(t *testing.T) {
	f := newFleet(t, 2)
	owner, other := f.nodes[0], f.nodes[1]
	owner.final(owner.submit(spec("DUMMY_WRITE_X=/outputs/x:hello")))
	names := other.held()
	if len(names) != 1 {
		t.Fatalf("the other node holds %q", names)
	}
	if err := other.ipfs.Unpin(t.Context(), names[0]); err != nil {
		t.Fatal(err)
	}
	owner.later.Store(int64(20 * time.Minute))
	owner.repair() // finds out
	owner.repair() // asks again
	if got := other.held(); !slices.Equal(got, names) {
		t.Errorf("the other node holds %q, want %q", got, names)
	}
}

// With a job's record its copies go, and those of single outputs with its end.
func TestCopiesAreLetGo(t *testing.T) {
	f := newFleet(t, 3)
	owner := f.nodes[0]
	j := f.result(3)
	for deadline := time.Now().Add(2 * time.Minute); len(owner.leftovers(j.ID.String())) > 0 && time.Now().Before(deadline); {
		runtime.Gosched() // pins of attempts go just after the end
	}
	owner.later.Add(int64(time.Second)) // of what is made in the same millisecond nobody knows whether it came later
	owner.repair()
	for i, b := range f.nodes[1:] {
		if got := b.held(); len(got) != 1 || !strings.HasSuffix(got[0], "/result") {
			t.Errorf("node %d holds %q, want the result", i+1, got)
		}
	}
	if err := owner.Remove(t.Context(), "t", j.ID.String()); err != nil {
		t.Fatal(err)
	}
	owner.later.Add(int64(time.Second))
	owner.repair()
	for i, b := range f.nodes[1:] {
		if got := b.held(); len(got) > 0 {
			t.Errorf("node %d still holds %q", i+1, got)
		}
	}
	if rows := owner.holdings(); len(rows) > 0 {
		t.Errorf("rows are left: %+v", rows)
	}
}

// A member that is full refuses, and the next one is asked.
func TestFullMemberHoldsNothing(t *testing.T) {
	f := newFleet(t, 3)
	owner := f.nodes[0]
	full := f.nodes[1]
	var refused atomic.Int64
	full.room = func(context.Context, int64) error {
		refused.Add(1)
		return jobspec.KindLimit.Errorf("the disk is full")
	}
	full.restart()
	for i := 0; i < 100 && refused.Load() == 0; i++ { // until it is the nearest one
		j := owner.final(owner.submit(spec("DUMMY_WRITE_X=/outputs/x:hello", fmt.Sprint("N=", i))))
		if len(j.Replicas.Holders) != 2 || slices.Contains(j.Replicas.Holders, full.key.ID()) {
			t.Errorf("holders are %v, want two without the full %s", j.Replicas.Holders, full.key.ID())
		}
	}
	if refused.Load() == 0 {
		t.Error("the full member was never asked")
	}
}

// What an owner that is gone for good has left is held for long, not for ever.
func TestOrphans(t *testing.T) {
	f := newFleet(t, 2)
	owner, other := f.nodes[0], f.nodes[1]
	owner.final(owner.submit(spec("DUMMY_WRITE_X=/outputs/x:hello")))
	f.leave(owner)
	other.later.Store(int64(89 * 24 * time.Hour))
	other.repair()
	if len(other.held()) != 1 {
		t.Fatalf("before the time is over the copies are %q, want one", other.held())
	}
	other.later.Store(int64(91 * 24 * time.Hour))
	other.repair()
	if got := other.held(); len(got) > 0 {
		t.Errorf("after the time the copies are %q, want none", got)
	}
}

// asksFor asks a member to hold something until it does, or says why not: one that
// is busy is asked again.
func (b *bench) asksFor(other *bench, h wire.Hold) (got wire.Holding, err error) {
	b.t.Helper()
	for late := time.Now().Add(2 * time.Minute); !got.Done && err == nil && time.Now().Before(late); {
		got, err = b.Ask(b.t.Context(), other.key.ID(), h)
	}
	return got, err
}

// A member refuses what no owner asks for, what is not to be had, and what
// there is no room for; nobody changes what is held for another.
func TestHolderBounds(t *testing.T) {
	f := newFleet(t, 3)
	owner, other, third := f.nodes[0], f.nodes[1], f.nodes[2]
	other.room = func(_ context.Context, n int64) error {
		if n > 1000 {
			return jobspec.KindLimit.Errorf("no room for %d bytes", n)
		}
		return nil
	}
	other.restart()
	root, err := jobspec.ParseCID(owner.input("a"))
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := jobspec.ParseCID("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ask  wire.Hold
		kind jobspec.Kind // "" = taken
	}{
		"control":          {wire.Hold{Name: "job/x/result", Root: root, Bytes: 1000}, ""},
		"another name":     {wire.Hold{Name: "held/x", Root: root}, jobspec.KindSpec},
		"no name":          {wire.Hold{Root: root}, jobspec.KindSpec},
		"a long name":      {wire.Hold{Name: "job/" + strings.Repeat("x", 300), Root: root}, jobspec.KindSpec},
		"a name with tabs": {wire.Hold{Name: "job/\t", Root: root}, jobspec.KindSpec},
		"no root":          {wire.Hold{Name: "job/x/result"}, jobspec.KindSpec},
		"negative":         {wire.Hold{Name: "job/x/result", Root: root, Bytes: -1}, jobspec.KindSpec},
		"too large":        {wire.Hold{Name: "job/y/result", Root: root, Bytes: 1001}, jobspec.KindLimit},
		"does not exist":   {wire.Hold{Name: "job/z/result", Root: nowhere}, jobspec.KindFetchTimeout},
	} {
		got, err := owner.asksFor(other, test.ask)
		switch {
		case test.kind == "" && (err != nil || !got.Done):
			t.Errorf("%s: %+v, %v, want done", name, got, err)
		case test.kind != "" && !errors.Is(err, test.kind.Error()):
			t.Errorf("%s: %+v, %v, want %s", name, got, err, test.kind)
		}
	}
	before := other.held()
	if len(before) != 1 {
		t.Fatalf("held are %q, want the control", before)
	}
	// The same name of another owner is another copy.
	if _, err := third.asksFor(other, wire.Hold{Name: "job/x/result", Root: nowhere}); err == nil {
		t.Error("what nobody has is held")
	}
	third.repair() // tells nobody anything about what is the owner's
	if got := other.held(); !slices.Equal(got, before) {
		t.Errorf("held are %q, want %q", got, before)
	}
	if ok, err := other.ipfs.Has(t.Context(), root); err != nil || !ok {
		t.Errorf("the copy is gone: %v", err)
	}
}

// A node that was killed while it told a member what to hold leaves no list of
// that pinned, though the member is gone for good. What is pinned besides stays.
func TestAuditLeavesNoPin(t *testing.T) {
	b := newBench(t)
	gone, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	b.input("a")
	pinned := func(name string) bool {
		pins, err := b.ipfs.Pins(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return len(pins) > 0
	}
	b.stop()
	_, err = b.ipfs.Add(t.Context(), "audit/"+gone.ID().String(), func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(t.Context(), s, strings.NewReader("[]"))
		return c, err
	})
	if err != nil || !pinned("audit/") {
		t.Fatalf("Add = %v, pinned = %v", err, pinned("audit/"))
	}
	b.swept()
	if pinned("audit/") {
		t.Error("the list is still pinned")
	}
	if !pinned("user/input") {
		t.Error("a pin of the user is gone")
	}
}
