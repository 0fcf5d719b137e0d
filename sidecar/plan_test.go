package sidecar_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// planned plans a spec and checks that this left nothing behind.
func (b *bench) planned(s jobspec.Spec) wire.Plan {
	b.t.Helper()
	before, err := b.ipfs.Pins(b.t.Context(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := b.Plan(b.t.Context(), api.Submission{Tenant: "t", Spec: s})
	if err != nil {
		b.t.Fatalf("Plan: %v", err)
	}
	after, err := b.ipfs.Pins(b.t.Context(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, pin := range after { // those of jobs that have just ended may go meanwhile
		if !slices.ContainsFunc(before, func(p ipfs.Pin) bool { return p.Name == pin.Name }) {
			b.t.Errorf("Plan left pin %s", pin.Name)
		}
	}
	if len(p.Reasons) == 0 {
		b.t.Error("Plan gives no reason")
	}
	return p
}

// What is planned is what a submit then does: the same tasks with the same keys.
func TestPlanOfTask(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_WRITE=/outputs/a:text")
	s.Inputs = []jobspec.Input{{CID: b.input("x", "y/z")}}
	p := b.planned(s)
	if len(p.Tasks) != 1 || p.Tasks[0].Remembered != "" || p.Bytes != 4 || p.Image != imageID {
		t.Fatalf("Plan = %+v, want one task to run over 4 bytes", p)
	}
	jobs, err := b.Jobs(t.Context(), "t", api.JobFilter{})
	if err != nil || len(jobs) != 0 {
		t.Errorf("Plan made jobs: %+v, %v", jobs, err)
	}
	j := b.final(b.submit(s))
	if got := j.Attempts[0].Receipt.TaskKey; got != p.Tasks[0].Key || j.SpecCID != p.SpecCID {
		t.Errorf("the task has key %s of spec %s, planned were %s of %s", got, j.SpecCID, p.Tasks[0].Key, p.SpecCID)
	}
	p = b.planned(s)
	if p.Tasks[0].Remembered != j.ID || !slices.ContainsFunc(p.Reasons, func(r string) bool { return strings.Contains(r, "nothing is left to run") }) {
		t.Errorf("Plan of what was done = %+v, want it remembered by %s", p, j.ID)
	}
	s.Cache = jobspec.CacheRefresh
	if p := b.planned(s); p.Tasks[0].Remembered != "" || !strings.Contains(p.Reasons[0], "cache is refresh") {
		t.Errorf("Plan with cache refresh = %+v, want the task to run", p)
	}
}

func TestPlanOfItems(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_STDOUT=x")
	s.Run.Per = jobspec.PerItem
	s.Inputs = []jobspec.Input{{CID: b.input("a", "b", "c/d")}}
	p := b.planned(s)
	var files []string
	for _, task := range p.Tasks {
		for _, it := range task.Items {
			files = append(files, it.Path)
			if !it.Key.Defined() || it.Bytes == 0 {
				t.Errorf("item %+v lacks its key or size", it)
			}
		}
	}
	slices.Sort(files)
	if p.Items != 3 || len(p.Kept) != 0 || !slices.Equal(files, []string{"a", "b", "c/d"}) || p.AtOnce != 2 {
		t.Errorf("Plan = %+v with files %q", p, files)
	}
}

// A plan is refused for what a submit, or the job later, would be.
func TestPlanRefused(t *testing.T) {
	b := newBench(t)
	large, missing, away := spec(), spec(), spec()
	large.Resources.CPU = 64000
	missing.Run.Image = "missing"
	away.Inputs = []jobspec.Input{{CID: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"}}
	for kind, s := range map[jobspec.Kind]jobspec.Spec{
		jobspec.KindPolicy: large, jobspec.KindImageRef: missing, jobspec.KindFetchTimeout: away, jobspec.KindSpec: {},
	} {
		if _, err := b.Plan(t.Context(), api.Submission{Tenant: "t", Spec: s}); !errors.Is(err, kind.Error()) {
			t.Errorf("Plan = %v, want %s", err, kind)
		}
	}
}

// Before requirements are installed nobody knows the keys; a plan installs
// nothing.
func TestPlanOfRequirements(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Run.Requirements = b.requirements("requirements.txt=six==1.16.0\n")
	p := b.planned(s)
	if len(p.Tasks) != 1 || p.Tasks[0].Key.Defined() || !strings.Contains(p.Reasons[0], "not installed yet") {
		t.Errorf("Plan = %+v, want a task whose key is not known", p)
	}
	if parents, children := b.jobs(); len(parents)+len(children) != 0 {
		t.Errorf("Plan made %d jobs and %d installations", len(parents), len(children))
	}
	j := b.final(b.submit(s))
	if p = b.planned(s); p.Tasks[0].Remembered != j.ID || !p.Tasks[0].Key.Defined() {
		t.Errorf("Plan after the job = %+v, want it remembered by %s", p, j.ID)
	}
}

// A tenant sees that another's job has done a task, and not which one.
func TestPlanHidesJobsOfOthers(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_WRITE=/outputs/a:text")
	j := b.final(b.submit(s))
	for tenant, want := range map[string]jobspec.JobID{"t": j.ID, "other": ""} { // "t" is the control
		p, err := b.Plan(t.Context(), api.Submission{Tenant: tenant, Spec: s})
		if err != nil {
			t.Fatal(err)
		}
		if task := p.Tasks[0]; !task.Done || task.Remembered != want {
			t.Errorf("Plan for %s = %+v, want it done by %q", tenant, task, want)
		}
	}
}
