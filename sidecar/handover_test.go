package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// served is a node of a fleet with its API.
type served struct {
	*bench
	*client.Client
	end func()
}

// serve answers at a node's socket until end, or the test's end.
func (f *fleet) serve(i int) *served {
	f.t.Helper()
	b := f.nodes[i]
	socket := filepath.Join(b.dir, "api.sock")
	l, err := api.ListenUnix(socket)
	if err != nil {
		f.t.Fatal(err)
	}
	a := api.New(api.Config{
		Service: b.Sidecar, Errands: b.Sidecar, Streams: f.streams[b.key.ID()], IPFS: b.ipfs, Logger: slog.New(slog.DiscardHandler),
		Heartbeat: 200 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Serve(ctx, l, nil); err != nil {
			f.t.Errorf("Serve = %v", err)
		}
	})
	c, err := client.New("unix://"+socket, client.WithRetry(10*time.Millisecond, 100*time.Millisecond, 20*time.Second))
	if err != nil {
		f.t.Fatal(err)
	}
	s := &served{bench: b, Client: c, end: sync.OnceFunc(func() { cancel(); c.Close(); running.Wait() })}
	f.t.Cleanup(s.end)
	return s
}

// wantKind fails unless err is of a kind and says these words.
func wantKind(t *testing.T, what string, err error, kind jobspec.Kind, words ...string) {
	t.Helper()
	if !errors.Is(err, kind.Error()) {
		t.Errorf("%s = %v, want %s", what, err, kind)
		return
	}
	said := err.Error()
	var refusal *client.Error
	if errors.As(err, &refusal) {
		said += " " + refusal.Failure().Hint
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("%s = %q, want it to say %q", what, said, w)
		}
	}
}

// A job that is handed over is the member's, and all that is asked about it
// here is answered from there.
func TestHandOver(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 3)
	here, there := f.serve(0), f.serve(1)
	id := there.key.ID().String()
	root, files := f.dataset(2)
	s := perItem(root, files)
	s.Name = "far"
	j, err := here.SubmitTo(ctx, id, s, "k1")
	if err != nil {
		t.Fatal(err)
	}
	if j.Member != id || j.ID == "" {
		t.Errorf("SubmitTo = job %q at %q, want one at %s", j.ID, j.Member, id)
	}
	done, err := here.Wait(ctx, j.ID.String())
	if err != nil || done.State != jobspec.JobSucceeded || done.Result.String() != root {
		t.Fatalf("Wait = %s with %s, %v, want succeeded with %s", done.State, done.Result, err, root)
	}
	if done.Tenant != api.TenantLocal || done.Member != id || len(done.Attempts) == 0 {
		t.Errorf("job is of %q at %q with %d attempts", done.Tenant, done.Member, len(done.Attempts))
	}
	for _, ref := range []string{"@last", "far", j.ID.String()[:12]} {
		if got, err := here.Job(ctx, ref); err != nil || got.ID != j.ID {
			t.Errorf("Job(%s) = %s, %v, want %s", ref, got.ID, err, j.ID)
		}
	}
	var out, errOut bytes.Buffer
	if err := here.Logs(ctx, "@last", false, &out, &errOut); err != nil || !strings.Contains(out.String(), "hello") {
		t.Errorf("Logs = %q, %v, want hello", out.String(), err)
	}
	events := 0
	if err := here.Client.Events(ctx, "far", 0, true, func(e jobspec.Event) error { events++; return nil }); err != nil || events < 4 {
		t.Errorf("Events gave %d, %v", events, err)
	}
	if owned, err := there.bench.Job(ctx, api.MemberTenant(here.key.ID()), j.ID.String()); err != nil || owned.ID != j.ID {
		t.Errorf("the member has %s, %v", owned.ID, err)
	}
	list, err := here.Client.Jobs(ctx, client.JobFilter{States: []jobspec.JobState{jobspec.JobSucceeded}})
	if err != nil || len(list) != 1 || list[0].ID != j.ID || list[0].Result != done.Result || list[0].Member != id {
		t.Errorf("Jobs = %+v, %v, want the job as it ended", list, err)
	}
	for _, dry := range []bool{true, false} {
		p, err := here.Client.Prune(ctx, wire.PruneWish{States: []jobspec.JobState{jobspec.JobSucceeded}, DryRun: dry})
		if err != nil || len(p.Jobs) != 1 || p.Jobs[0].ID != j.ID {
			t.Errorf("Prune = %+v, %v", p, err)
		}
	}
	if list, err := here.Client.Jobs(ctx, client.JobFilter{}); err != nil || len(list) != 0 {
		t.Errorf("Jobs after prune = %+v, %v", list, err)
	}
	if j, err = here.SubmitTo(ctx, id, s, "k2"); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Wait(ctx, j.ID.String()); err != nil {
		t.Fatal(err)
	}
	if err := here.Client.Remove(ctx, j.ID.String()); err != nil {
		t.Error(err)
	}
	_, err = here.Client.Job(ctx, j.ID.String())
	wantKind(t, "Job of a removed one", err, jobspec.KindNotFound)
	_, err = there.bench.Job(ctx, api.MemberTenant(here.key.ID()), j.ID.String())
	wantKind(t, "the same there", err, jobspec.KindNotFound)
}

// The same submit twice is one job, also when the first had no answer.
func TestF60HandOverOnce(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 2)
	f.net = memory.New(memory.Config{Faults: memory.Noise(3, 0.3, 0.5, 20*time.Millisecond)})
	f.nodes[0].restart()
	f.nodes[1].restart()
	here, there := f.serve(0), f.serve(1)
	first, err := here.SubmitTo(ctx, there.key.ID().String(), spec("DUMMY_STDOUT=once"), "k")
	if err != nil {
		t.Fatal(err)
	}
	// As if the node had been killed before it could write the answer down.
	err = here.store.Update(ctx, func(tx *store.Tx) error {
		h, err := tx.Handed(api.TenantLocal, "k")
		if err != nil {
			return err
		}
		h.Job.ID = ""
		return tx.PutHanded(h)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again, err := here.SubmitTo(ctx, "any", spec("DUMMY_STDOUT=once"), "k")
		if err != nil || again.ID != first.ID {
			t.Errorf("the same submit = %s, %v, want %s", again.ID, err, first.ID)
		}
	}
	_, err = here.SubmitTo(ctx, "any", spec("DUMMY_STDOUT=twice"), "k")
	wantKind(t, "another spec", err, jobspec.KindDupKey)
	list, err := there.bench.Jobs(ctx, api.MemberTenant(here.key.ID()), api.JobFilter{})
	if err != nil || len(list) != 1 {
		t.Errorf("the member has %d jobs, %v, want 1", len(list), err)
	}
	if other, _, err := here.bench.HandOver(ctx, "any", api.Submission{Tenant: "bob", IdempotencyKey: "k", Spec: spec()}); err != nil || other.ID == first.ID {
		t.Errorf("another tenant's key gave %s, %v", other.ID, err)
	}
}

// What a member refuses comes back in its words, and nothing is left of it.
func TestHandOverRefused(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 3)
	f.change(1, func(b *bench) { b.cap.CPU = 1000 })
	f.nodes[2].admit = func(context.Context) error { return jobspec.KindLimit.Errorf("no room: 1 of 2 GiB free") }
	f.nodes[2].restart()
	here, small, full := f.serve(0), f.nodes[1].key.ID().String(), f.nodes[2].key.ID().String()
	big := spec()
	big.Resources.CPU = 1500

	_, err := here.SubmitTo(ctx, full, spec(), "")
	wantKind(t, "a full one", err, jobspec.KindLimit, full, "1 of 2 GiB free")
	_, err = here.SubmitTo(ctx, "any", big, "")
	wantKind(t, "any, of which one fits and is full", err, jobspec.KindLimit, "1 of 2 GiB free")
	big.Resources.CPU = 9000
	_, err = here.SubmitTo(ctx, "any", big, "")
	wantKind(t, "any, of which none fits", err, jobspec.KindPolicy, "none of 2 members", "cpu: asks 9")
	_, err = here.SubmitTo(ctx, small, big, "")
	wantKind(t, "too large for all that it knows", err, jobspec.KindPolicy, small, "cpu: asks 9, has 1")
	_, err = here.SubmitTo(ctx, "12D3KooWnobody", spec(), "")
	wantKind(t, "an unknown one", err, jobspec.KindNotFound, "ipdc peers")
	_, err = here.SubmitTo(ctx, "12D3KooW", spec(), "")
	wantKind(t, "an ambiguous one", err, jobspec.KindSpec, small, full)
	_, err = here.SubmitTo(ctx, here.key.ID().String(), spec(), "")
	wantKind(t, "itself", err, jobspec.KindSpec, "this node itself")
	wrong := spec()
	wrong.Run.Command = nil
	_, err = here.SubmitTo(ctx, small, wrong, "")
	wantKind(t, "a spec that is wrong", err, jobspec.KindSpec, "run.command")

	if list, err := here.Client.Jobs(ctx, client.JobFilter{}); err != nil || len(list) != 0 {
		t.Errorf("%d jobs are listed, %v", len(list), err)
	}
	if j, err := here.SubmitTo(ctx, "any", spec(), ""); err != nil || j.Member != small {
		t.Errorf("any = %s, %v, want %s, as the other is full", j.Member, err, small)
	}
	f.change(1, func(b *bench) { b.labels = map[string]string{"name": "lab"} })
	for _, to := range []string{"lab", small[len(small)-8:], small[:len(small)-1]} {
		if j, err := here.SubmitTo(ctx, to, spec(), ""); err != nil || j.Member != small {
			t.Errorf("--to %s = %s, %v, want %s", to, j.Member, err, small)
		}
	}
}

// A spec that no message holds travels as a file, and leaves no pin.
func TestHandOverLongSpec(t *testing.T) {
	ctx := t.Context()
	f := newFleet(t, 2)
	here, _ := f.serve(0), f.serve(1)
	s := spec("LONG=" + strings.Repeat("x", 100<<10))
	j, err := here.SubmitTo(ctx, "any", s, "")
	if err != nil {
		t.Fatal(err)
	}
	if done, err := here.Wait(ctx, j.ID.String()); err != nil || done.State != jobspec.JobSucceeded || done.Spec.Run.Env["LONG"] != s.Run.Env["LONG"] {
		t.Errorf("job is %s, %v", done.State, err)
	}
	pins, err := here.ipfs.Pins(ctx, "job/")
	for _, p := range pins {
		if strings.HasSuffix(p.Name, "/handover") || err != nil {
			t.Errorf("pin %v, %v is left", p, err)
		}
	}
}

// A member that stops refuses what it is handed, so that who looks for any member
// asks the next one.
func TestStoppingMemberRefuses(t *testing.T) {
	f := newFleet(t, 2)
	there := f.nodes[1]
	there.stop()
	_, _, err := there.Submit(t.Context(), api.Submission{Tenant: api.MemberTenant(f.nodes[0].key.ID()), IdempotencyKey: "k", Spec: spec()})
	wantKind(t, "Submit", err, jobspec.KindConflict, "the node is stopping")
}
