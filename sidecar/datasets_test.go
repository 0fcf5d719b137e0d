package sidecar_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// text stores a file on the node.
func (b *bench) text(text string) jobspec.CID {
	b.t.Helper()
	c, err := b.ipfs.Add(b.t.Context(), "user/"+text, func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(b.t.Context(), s, strings.NewReader(text))
		return c, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// grow appends one file to a dataset of the node's, or replaces it.
func (b *bench) grow(name, entry, text string) {
	b.t.Helper()
	q := wire.DatasetAppend{Entries: []wire.DatasetEntry{{Name: entry, Path: b.text(text).String()}}, Replace: true}
	if _, err := b.data.Append(b.t.Context(), "t", name, q); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) createDataset(name string) {
	b.t.Helper()
	if _, err := b.data.Create(b.t.Context(), "t", wire.DatasetWish{Name: name}); err != nil {
		b.t.Fatal(err)
	}
}

// overDataset is a job whose container copies what is new in a dataset.
func overDataset(name string, onlyNew bool) jobspec.Spec {
	s := spec("DUMMY_COPY=/inputs:/outputs")
	s.Inputs = []jobspec.Input{{Dataset: name, OnlyNew: onlyNew}}
	return s
}

// entries are the names in a result.
func (b *bench) entries(root jobspec.CID) string {
	b.t.Helper()
	links, err := tree.Links(b.t.Context(), b.ipfs, root, ipfs.Budget{})
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name)
	}
	return strings.Join(names, " ")
}

// A dataset grows by one file a night: each run is over the new one, links the
// run before, and runs nothing when nothing is new.
func TestNights(t *testing.T) {
	b := newBench(t)
	b.createDataset("logs")
	var last wire.Job
	for night := range 4 {
		b.grow("logs", fmt.Sprint("day", night), fmt.Sprint("text", night))
		j := b.final(b.submit(overDataset("logs", true)))
		u := j.Dataset
		if j.State != jobspec.JobSucceeded || u == nil || u.Version != night+2 || j.Spec.Inputs[0].Dataset != fmt.Sprintf("logs@%d", night+2) {
			t.Fatalf("night %d: %s %v, %+v, %v", night, j.State, j.Failure, u, j.Spec.Inputs)
		}
		if got := b.entries(j.Result); got != fmt.Sprint("day", night) || len(j.Attempts) != 1 {
			t.Errorf("night %d: the result has %q of %d attempts, want day%d of one", night, got, len(j.Attempts), night)
		}
		if night > 0 && (u.Previous != last.ID || u.Result != last.Result || u.Since != last.Dataset.Version || u.New == nil || *u.New != 1) {
			t.Errorf("night %d follows %+v, want job %s", night, u, last.ID)
		}
		last = j
		if _, err := b.GC(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	idle := b.final(b.submit(overDataset("logs", true)))
	if idle.State != jobspec.JobSucceeded || len(idle.Attempts) != 0 || b.entries(idle.Result) != "" || idle.Dataset.Previous != last.ID {
		t.Errorf("without anything new: %s %v with %d attempts and result %q, %+v", idle.State, idle.Failure, len(idle.Attempts), b.entries(idle.Result), idle.Dataset)
	}
	b.grow("logs", "day0", "other text")
	if j := b.final(b.submit(overDataset("logs", true))); b.entries(j.Result) != "day0" || j.Dataset.Previous != idle.ID {
		t.Errorf("a replaced entry gives %q, %+v", b.entries(j.Result), j.Dataset)
	}
	other := overDataset("logs", true)
	other.Run.Env["MORE"] = "1"
	if j := b.final(b.submit(other)); b.entries(j.Result) != "day0 day1 day2 day3" || j.Dataset.Previous != "" {
		t.Errorf("the first run of another program gives %q, %+v", b.entries(j.Result), j.Dataset)
	}
}

// A run that follows one that failed builds on the newest that succeeded: it is
// over what is new since that one, what the failed one had included.
func TestOnlyNewAfterFailure(t *testing.T) {
	b := newBench(t)
	b.createDataset("logs")
	program := spec("DUMMY_COPY=/inputs/good:/outputs/good") // fails without it
	program.Inputs = []jobspec.Input{{Dataset: "logs", OnlyNew: true}}
	b.grow("logs", "good", "one")
	first := b.final(b.submit(program))
	b.grow("logs", "bad", "text")
	failed := b.final(b.submit(program))
	if first.State != jobspec.JobSucceeded || failed.State != jobspec.JobFailed || failed.Dataset.Previous != first.ID {
		t.Fatalf("the runs are %s and %s, %+v", first.State, failed.State, failed.Dataset)
	}
	b.grow("logs", "good", "two")
	j := b.final(b.submit(program))
	u := j.Dataset
	if j.State != jobspec.JobSucceeded || u.Previous != first.ID || u.Result != first.Result || u.Since != 2 || u.New == nil || *u.New != 2 {
		t.Errorf("after the run that failed: %s %v over %+v, want 2 new entries since version 2", j.State, j.Failure, u)
	}
	runs, err := b.Jobs(t.Context(), "t", api.JobFilter{Dataset: jobspec.DatasetRef{Name: "logs"}})
	if err != nil || len(runs) != 3 || runs[0].ID != j.ID || runs[2].ID != first.ID {
		t.Errorf("runs over the dataset = %+v, %v, want three", runs, err)
	}
	runs, err = b.Jobs(t.Context(), "t", api.JobFilter{Dataset: jobspec.DatasetRef{Name: "logs", Version: 3}})
	if err != nil || len(runs) != 1 || runs[0].ID != failed.ID {
		t.Errorf("runs over its version 3 = %+v, %v, want the one that failed", runs, err)
	}
}

// What a name means is decided once, at submit.
func TestResolvedAtSubmit(t *testing.T) {
	b := newBench(t)
	b.createDataset("logs")
	b.grow("logs", "a", "one")
	sub := api.Submission{Tenant: "t", IdempotencyKey: "night", Spec: overDataset("logs", false)}
	first, _, err := b.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	b.grow("logs", "b", "two")
	again, created, err := b.Submit(t.Context(), sub)
	if err != nil || created || again.ID != first.ID {
		t.Errorf("the same submit again = %s, %v, %v, want job %s", again.ID, created, err, first.ID)
	}
	if got := b.entries(b.final(first.ID.String()).Result); got != "a" {
		t.Errorf("the result has %q, want what there was at submit", got)
	}
	rerun := b.final(b.submit(again.Spec))
	if got := b.entries(rerun.Result); got != "a" || rerun.Dataset == nil || rerun.Dataset.Version != 2 {
		t.Errorf("the spec as it was resolved gives %q, %+v", got, rerun.Dataset)
	}
	for _, c := range []struct {
		tenant, name string
		want         jobspec.Kind
	}{{"t", "none", jobspec.KindNotFound}, {"ci", "logs", jobspec.KindNotFound}, {"t", "logs@9", jobspec.KindNotFound}} {
		if _, _, err := b.Submit(t.Context(), api.Submission{Tenant: c.tenant, Spec: overDataset(c.name, false)}); !errors.Is(err, c.want.Error()) {
			t.Errorf("submit of %s over %s = %v, want %s", c.tenant, c.name, err, c.want)
		}
	}
}

// A member's dataset is named as one of the node's own; only its owner appends.
func TestDatasetOfMember(t *testing.T) {
	f := newFleet(t, 2)
	owner, member := f.nodes[0], f.nodes[1]
	owner.createDataset("logs")
	owner.grow("logs", "day0", "zero")
	first := member.final(member.submit(overDataset("logs", true)))
	if first.State != jobspec.JobSucceeded || member.entries(first.Result) != "day0" || first.Dataset.Owner != owner.key.ID().String() {
		t.Fatalf("the job is %s, %v, %+v", first.State, first.Failure, first.Dataset)
	}
	owner.grow("logs", "day1", "one")
	if j := member.final(member.submit(overDataset("logs", true))); member.entries(j.Result) != "day1" || j.Dataset.Previous != first.ID {
		t.Errorf("the second run is %s, %v, gives %q, %+v", j.State, j.Failure, member.entries(j.Result), j.Dataset)
	}
	_, err := member.data.Append(t.Context(), "t", "logs", wire.DatasetAppend{Remove: []string{"day0"}})
	if !errors.Is(err, jobspec.KindPolicy.Error()) || !strings.Contains(err.Error(), owner.key.ID().String()) {
		t.Errorf("Append at a member = %v, want a refusal that names the owner", err)
	}
	if _, err := member.data.Create(t.Context(), "t", wire.DatasetWish{Name: "logs"}); !errors.Is(err, jobspec.KindConflict.Error()) {
		t.Errorf("Create of a member's name = %v, want E_CONFLICT", err)
	}
	if _, err := member.data.Resolve(t.Context(), "ci", jobspec.DatasetRef{Name: "logs"}); !errors.Is(err, jobspec.KindNotFound.Error()) {
		t.Errorf("Resolve by another tenant = %v, want E_NOT_FOUND", err)
	}
	list, err := member.data.List(t.Context(), "t")
	if err != nil || len(list) != 1 || list[0].Mine || list[0].Version != 3 {
		t.Errorf("List = %+v, %v", list, err)
	}
	behind, err := member.data.After(t.Context(), "t", "logs", 1)
	if err != nil || len(behind) != 2 || behind[0].Version != 2 || behind[1].Version != 3 {
		t.Errorf("After = %+v, %v", behind, err)
	}
	f.mu.Lock()
	f.away[owner] = true
	f.mu.Unlock()
	if v, err := member.data.Resolve(t.Context(), "t", jobspec.DatasetRef{Name: "logs"}); err != nil || v.Version != 3 {
		t.Errorf("Resolve with the owner away = %+v, %v, want the head that was seen", v, err)
	}
}

// A dataset that is made anew under its name has no runs yet: those over the one
// before are neither listed with its own, nor what a run over what is new follows,
// at its owner and at a member.
func TestDatasetMadeAnew(t *testing.T) {
	f := newFleet(t, 2)
	owner := f.nodes[0]
	logs := api.JobFilter{Dataset: jobspec.DatasetRef{Name: "logs"}}
	over := func(b *bench) []jobspec.JobID {
		runs, err := b.Jobs(t.Context(), "t", logs)
		if err != nil {
			t.Fatal(err)
		}
		var ids []jobspec.JobID
		for _, j := range runs {
			ids = append(ids, j.ID)
		}
		return ids
	}
	night := func(text string) {
		owner.createDataset("logs")
		owner.grow("logs", "day0", text)
	}
	night("zero")
	for _, b := range f.nodes {
		j := b.final(b.submit(overDataset("logs", true)))
		if got := over(b); j.State != jobspec.JobSucceeded || !slices.Equal(got, []jobspec.JobID{j.ID}) {
			t.Fatalf("the job is %s, %v; the runs are %v", j.State, j.Failure, got)
		}
	}
	if err := owner.data.Remove(t.Context(), "t", "logs"); err != nil {
		t.Fatal(err)
	}
	if got := over(owner); len(got) != 1 {
		t.Errorf("the runs over a dataset that is gone are %v, want the one", got)
	}
	night("one")
	for i, b := range f.nodes {
		j := b.final(b.submit(overDataset("logs", true)))
		if b.entries(j.Result) != "day0" || j.Dataset.Previous != "" {
			t.Errorf("node %d: the first run over the new one gives %q, behind %q", i, b.entries(j.Result), j.Dataset.Previous)
		}
		if got := over(b); !slices.Equal(got, []jobspec.JobID{j.ID}) {
			t.Errorf("node %d: the runs over the new one are %v, want %s", i, got, j.ID)
		}
	}
}

// A run that was noted before ids were is one over the dataset where its version
// still has the root that was noted, and none over a dataset made anew.
func TestRunsBeforeIDs(t *testing.T) {
	f := newFleet(t, 2)
	owner := f.nodes[0]
	night := func(create bool, text string) {
		if create {
			owner.createDataset("logs")
		}
		owner.grow("logs", text, text)
	}
	last := map[*bench]jobspec.JobID{}
	runs := func(what, want string, follows bool) {
		t.Helper()
		for i, b := range f.nodes {
			j := b.final(b.submit(overDataset("logs", true)))
			previous := last[b]
			if !follows {
				previous = ""
			}
			if j.State != jobspec.JobSucceeded || b.entries(j.Result) != want || j.Dataset.Previous != previous {
				t.Errorf("%s, node %d: the job is %s, %v, gives %q, behind %q, want %q behind %q", what, i, j.State, j.Failure, b.entries(j.Result), j.Dataset.Previous, want, previous)
			}
			last[b] = j.ID
			err := b.store.Update(t.Context(), func(tx *store.Tx) error {
				old, err := tx.Job(j.ID)
				if err != nil {
					return err
				}
				old.Dataset.ID = ""
				return tx.PutJob(old)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	night(true, "a")
	runs("the first run", "a", false)
	night(false, "b")
	runs("the second run", "b", true)
	if err := owner.data.Remove(t.Context(), "t", "logs"); err != nil {
		t.Fatal(err)
	}
	night(true, "c")
	night(false, "d")
	runs("the first run over the new one", "c d", false)
}

// A schedule that follows a dataset runs over the one file of each night, once,
// and its history has the results.
func TestNightsOfSchedule(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1)
	b := f.nodes[0]
	b.createDataset("logs")
	for _, c := range []struct {
		head string
		want jobspec.Kind
	}{{"none", jobspec.KindNotFound}, {"logs@1", jobspec.KindSpec}, {"/ipns/docs.ipfs.tech", jobspec.KindPolicy}} {
		if _, _, err := b.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "x", OnChange: c.head, Spec: overDataset("logs", true)}); !errors.Is(err, c.want.Error()) {
			t.Errorf("a schedule that follows %s: %v, want %s", c.head, err, c.want)
		}
	}
	if _, _, err := b.AddSchedule(t.Context(), "t", wire.ScheduleRequest{Name: "nightly", OnChange: "logs", Spec: overDataset("logs", true)}); err != nil {
		t.Fatal(err)
	}
	const nights = 3
	for night := range nights {
		b.grow("logs", fmt.Sprint("day", night), fmt.Sprint("text", night))
		b.later.Add(int64(24 * time.Hour))
		f.await(fmt.Sprint("night ", night), func() bool { return len(b.ran("nightly")) == night+1 })
	}
	list, err := b.History(t.Context(), "t", "nightly", 100, 0)
	if err != nil || len(list) != nights {
		t.Fatalf("History = %+v, %v, want %d instants", list, err, nights)
	}
	for i, at := range list { // newest first
		night := nights - 1 - i
		j := b.final(at.Job.String())
		if at.Dataset != fmt.Sprint("logs@", night+2) || at.Result != j.Result || b.entries(at.Result) != fmt.Sprint("day", night) || len(j.Attempts) != 1 {
			t.Errorf("night %d is %+v with %q of %d attempts", night, at, b.entries(at.Result), len(j.Attempts))
		}
	}
}
