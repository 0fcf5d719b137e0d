package sidecar_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A worker that reports what it was not asked for, or in another's name, is
// not believed; the task is done elsewhere.
func TestQ12Z11LyingWorker(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(*jobspec.Receipt, identity.Key){
		"the truth":                      func(rc *jobspec.Receipt, key identity.Key) { *rc, _ = jobspec.SignReceipt(key, *rc) },
		"no signature":                   func(rc *jobspec.Receipt, _ identity.Key) { rc.Signature = nil },
		"another output, signature kept": func(rc *jobspec.Receipt, _ identity.Key) { rc.Output = rc.Input },
		"another task": func(rc *jobspec.Receipt, key identity.Key) {
			rc.TaskKey = rc.SpecCID
			*rc, _ = jobspec.SignReceipt(key, *rc)
		},
		"another token": func(rc *jobspec.Receipt, key identity.Key) {
			rc.Token = strings.Repeat("0", 32)
			*rc, _ = jobspec.SignReceipt(key, *rc)
		},
		"another worker": func(rc *jobspec.Receipt, _ identity.Key) {
			other, _ := identity.Generate()
			rc.Worker = other.ID().String()
			*rc, _ = jobspec.SignReceipt(other, *rc)
		},
		"other packages": func(rc *jobspec.Receipt, key identity.Key) {
			rc.Packages = []string{"numpy==2.4.1"}
			*rc, _ = jobspec.SignReceipt(key, *rc)
		},
		"success with an exit code": func(rc *jobspec.Receipt, key identity.Key) {
			rc.ExitCode = 1
			*rc, _ = jobspec.SignReceipt(key, *rc)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2)
			root, files := f.dataset(1)
			liar := f.nodes[1]
			key := f.lieAs(liar, func(rc *jobspec.Receipt) { lie(rc, liar.key) })
			work := perItem(root, files)
			work.Replicate = 1 // the liar answers no other question
			j := f.nodes[0].final(f.nodes[0].submit(work))
			if j.State != jobspec.JobSucceeded || j.Result.String() != root {
				t.Fatalf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
			}
			believed := false
			for _, a := range j.Attempts {
				believed = believed || a.Node == key.String() && a.State != jobspec.AttemptAbandoned
			}
			if want := name == "the truth"; believed != want {
				t.Errorf("the worker was believed: %v, want %v", believed, want)
			}
		})
	}
}

// lieAs takes the place of a node on the bus: it takes each task, and reports
// the shard itself as the output, with a receipt that lie has changed.
func (f *fleet) lieAs(b *bench, lie func(*jobspec.Receipt)) identity.ID {
	f.t.Helper()
	var work sync.WaitGroup
	f.t.Cleanup(work.Wait) // after the puppet's own
	f.puppet(b, func(ctx context.Context, post *bus.Post) {
		f.answersHolds(post, b)
		bus.Answer(post, "assign", func(_ context.Context, l bus.Letter, a wire.Assign) (wire.Assigned, error) {
			work.Go(func() { reportUntilTaken(ctx, post, l.From, a, f.outcome(b, a, lie)) })
			return wire.Assigned{}, nil
		})
	})
	return b.key.ID()
}

// puppet takes the place of a node, which is stopped, on the bus; what it
// answers is set by set. ctx lasts as long.
func (f *fleet) puppet(b *bench, set func(ctx context.Context, post *bus.Post)) *bus.Post {
	f.t.Helper()
	b.stop()
	post, leave := f.join(b.key, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(f.t.Context())
	set(ctx, post)
	var running sync.WaitGroup
	running.Go(func() { _ = post.Run(ctx) })
	f.t.Cleanup(func() { cancel(); leave(); running.Wait() })
	return post
}

// answersHolds makes a puppet say what the node has.
func (f *fleet) answersHolds(post *bus.Post, b *bench) {
	bus.Answer(post, "holds", func(ctx context.Context, _ bus.Letter, q wire.Holds) (wire.Held, error) {
		var wanted []jobspec.CID
		f.read(q.List, &wanted)
		bits := make([]byte, (len(wanted)+7)/8)
		for i, c := range wanted {
			if ok, _ := b.ipfs.Has(ctx, c); ok {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		return wire.Held{Bits: bits}, nil
	})
}

// outcome is the report of a task as done that was not.
func (f *fleet) outcome(b *bench, a wire.Assign, lie func(*jobspec.Receipt)) jobspec.CID {
	var w wire.Work
	f.read(a.Work, &w)
	task := w.Plan.Tasks[0]
	var list []merge.File
	for _, it := range task.Items {
		list = append(list, merge.File{Path: it.Path, CID: it.CID, Size: it.Size})
	}
	ctx := context.WithoutCancel(f.t.Context())
	output, err := b.ipfs.Add(ctx, "lie", func(s ipfs.Session) (jobspec.CID, error) { return merge.Files(ctx, s, list) })
	if err != nil {
		f.t.Error(err)
	}
	rc := jobspec.Receipt{
		Version: jobspec.ReceiptVersion, Attempt: a.Attempt, Token: a.Token, SpecCID: w.Plan.SpecCID, TaskKey: task.Key,
		Input: task.Shard, Image: w.Plan.Image, Output: output, Started: time.Now().UTC(), Exited: time.Now().UTC(), Worker: b.key.ID().String(),
	}
	lie(&rc)
	return b.file(wire.Outcome{Receipt: &rc})
}

// file stores v for others to read.
func (b *bench) file(v any) jobspec.CID {
	text, err := json.Marshal(v)
	if err != nil {
		b.t.Error(err)
	}
	ctx := context.WithoutCancel(b.t.Context())
	c, err := b.ipfs.Add(ctx, "file", func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(ctx, s, bytes.NewReader(text))
		return c, err
	})
	if err != nil {
		b.t.Error(err)
	}
	return c
}

// reportUntilTaken says how a task ended until its owner has it, or does not
// want it.
func reportUntilTaken(ctx context.Context, post *bus.Post, owner identity.ID, a wire.Assign, outcome jobspec.CID) {
	for ctx.Err() == nil {
		got, err := bus.Request[wire.Reported](ctx, post, owner, "report", wire.Report{Attempt: a.Attempt, Token: a.Token, Outcome: outcome})
		if err != nil || got.Taken {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// read reads a file that some node holds.
func (f *fleet) read(c jobspec.CID, v any) {
	var b bytes.Buffer
	if _, err := tree.Copy(f.t.Context(), f, c, &b, ipfs.Budget{}); err != nil {
		f.t.Error(err)
		return
	}
	if err := json.Unmarshal(b.Bytes(), v); err != nil {
		f.t.Error(err)
	}
}

// Who reports or beats for what is not its own is told so.
func TestZ11UnknownAttempt(t *testing.T) {
	refusal.Produces(t, jobspec.KindLeaseLost)
	f := newFleet(t, 2)
	post := f.puppet(f.nodes[1], func(_ context.Context, post *bus.Post) { f.answersHolds(post, f.nodes[1]) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	root, _ := f.dataset(1)
	s := spec("DUMMY_SLEEP=1h")
	s.Inputs = []jobspec.Input{{CID: root + "/0"}} // of the owner's own
	owner := f.nodes[0]
	id := owner.submit(s)
	owner.until(id, jobspec.AttemptRunning)
	for _, attempt := range []string{id + "-0-1", id + "-7-1", jobspec.NewJobID(time.Now()).String() + "-0-1", "nonsense"} {
		_, err := bus.Request[wire.Beating](ctx, post, owner.key.ID(), "beat", wire.Beat{Attempt: attempt, Token: "x"})
		if !refusal.Is(t, err, jobspec.KindLeaseLost) {
			t.Errorf("beat for %s = %v, want E_LEASE_LOST", attempt, err)
		}
		_, err = bus.Request[wire.Reported](ctx, post, owner.key.ID(), "report", wire.Report{Attempt: attempt, Token: "x"})
		if !refusal.Is(t, err, jobspec.KindLeaseLost) {
			t.Errorf("report of %s = %v, want E_LEASE_LOST", attempt, err)
		}
	}
}
