package sidecar_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// parted makes a dataset of files that lie in directories named as partitions:
// a program that copies it leaves partitions.
func (b *bench) parted(files ...string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(f+"\n", 100<<10/(len(f)+1))), 0o644); err != nil {
			b.t.Fatal(err)
		}
	}
	c, err := b.ipfs.Add(b.t.Context(), "user/parted", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(b.t.Context(), s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c.String()
}

// mapReduce copies twice: by a task for each file, and by one for each of k
// partitions.
func mapReduce(root string, k int, script ...string) jobspec.Spec {
	copies := spec(append(script, "DUMMY_COPY=/inputs:/outputs")...).Run
	s := jobspec.Spec{Version: jobspec.Version, Inputs: []jobspec.Input{{CID: root}}, Stages: []jobspec.Stage{
		{Name: "map", Run: copies, Partitions: k, Split: jobspec.Split{By: jobspec.SplitSize, Size: 64 * jobspec.KiB}},
		{Name: "reduce", Run: copies, Needs: []string{"map"}},
	}}
	s.Timeouts.Total = 0
	return s
}

var someParts = []string{"part-00000/a", "part-00000/b", "part-00001/c", "part-00002/d", "part-00002/e"}

// names returns the paths of a result's files, and checks their content.
func (b *bench) names(root jobspec.CID) []string {
	b.t.Helper()
	files := b.outputs(root)
	for path, text := range files {
		if want := filepath.Base(path) + "\n"; !strings.Contains(text, "/"+want) {
			b.t.Errorf("%s begins with %.20q", path, text)
		}
	}
	return slices.Sorted(maps.Keys(files))
}

// ran counts the attempts of each stage.
func ran(j wire.Job, firstOfReduce int) (mapped, reduced int) {
	for _, a := range j.Attempts {
		if a.ID.Task < firstOfReduce {
			mapped++
		} else {
			reduced++
		}
	}
	return mapped, reduced
}

// Two stages by hand: each partition is one task's, whose shard holds what each
// task of the first stage left of it, under its number. Run again nothing is
// run; with one more file that file's task and the reduces are.
func TestStages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := mapReduce(b.parted(someParts...), 4)
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	want := []string{
		"part-00000/00000000/a", "part-00000/00000001/b", "part-00001/00000002/c", "part-00002/00000003/d", "part-00002/00000004/e",
	}
	if diff := cmp.Diff(want, b.names(j.Result)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if m, r := ran(j, 5); m != 5 || r != 4 {
		t.Errorf("%d maps and %d reduces were run, want 5 and 4", m, r)
	}
	b.nothingLeft(j.ID.String())

	again := b.final(b.submit(s))
	if diff := cmp.Diff([]string{"stage map: 5 tasks, 5 remembered", "stage reduce: 4 tasks, 4 remembered"}, b.stages(again.ID.String())); diff != "" {
		t.Errorf("what is told of stages (-want +got):\n%s", diff)
	}
	if again.Result != j.Result || len(again.Attempts) != 0 || again.Remembered != 9 {
		t.Errorf("again: %s with %d attempts and %d remembered, want %s with 0 and 9: %+v", again.Result, len(again.Attempts), again.Remembered, j.Result, again.Failure)
	}
	b.nothingLeft(again.ID.String())

	more := b.final(b.submit(mapReduce(b.parted(append(someParts, "part-00001/f")...), 4)))
	if more.State != jobspec.JobSucceeded {
		t.Fatalf("with one more file the job is %s: %+v", more.State, more.Failure)
	}
	// The new file stands between others, so that later tasks have other numbers.
	if m, r := ran(more, 6); m != 1 || r < 1 || more.Remembered != 5+4-r {
		t.Errorf("with one more file %d maps and %d reduces were run, %d tasks remembered, want 1 map", m, r, more.Remembered)
	}
	if err := b.GCAndVerify(j.Result, more.Result); err != nil {
		t.Error(err)
	}
}

// stages is what a job's history tells of its stages.
func (b *bench) stages(id string) (said []string) {
	b.t.Helper()
	err := b.Events(b.t.Context(), "t", id, 0, false, func(e jobspec.Event) error {
		if e.Type == jobspec.EventStage {
			said = append(said, e.Detail)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return said
}

// GCAndVerify collects garbage and reads results.
func (b *bench) GCAndVerify(roots ...jobspec.CID) error {
	if _, err := b.GC(b.t.Context()); err != nil {
		return err
	}
	for _, c := range roots {
		if _, err := b.ipfs.Verify(b.t.Context(), c); err != nil {
			return fmt.Errorf("verify %s: %w", c, err)
		}
	}
	return nil
}

// Side results, offsets and the result of a stage as the input of another.
func TestWhatAStageSees(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := b.parted("long")
	copies := spec("DUMMY_COPY=/inputs:/outputs").Run
	s := jobspec.Spec{Version: jobspec.Version, Inputs: []jobspec.Input{{CID: dir}}, Stages: []jobspec.Stage{
		{Name: "sample", Run: spec("DUMMY_WRITE=/outputs/keys:k").Run, Split: jobspec.Split{By: jobspec.SplitSize}, Merge: jobspec.MergeShards},
		{Name: "cut", Run: copies, Side: []string{"sample"}, Split: jobspec.Split{By: jobspec.SplitLines, Size: 64 * jobspec.KiB, Offsets: true}, Merge: jobspec.MergeShards},
		{Name: "whole", Run: copies, Needs: []string{"cut"}, Side: []string{"sample"}},
	}}
	p, err := b.Plan(t.Context(), api.Submission{Tenant: "t", Spec: s})
	if err != nil || len(p.Tasks) != 1 || len(p.Stages) != 3 || p.Stages[2].Needs[0] != "cut" {
		t.Errorf("Plan = %+v, %v, want the first stage's task and three stages", p, err)
	}
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job is %s: %+v", j.State, j.Failure)
	}
	files := b.outputs(j.Result)
	if diff := cmp.Diff([]string{
		"data/0/data/long", "data/0/offsets", "data/0/side/sample/0/keys",
		"data/1/data/long", "data/1/offsets", "data/1/side/sample/0/keys",
		"side/sample/0/keys",
	}, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	first := files["data/0/data/long"]
	if want := fmt.Sprintf("%d long\n", len(first)); files["data/0/offsets"] != "" || files["data/1/offsets"] != want {
		t.Errorf("offsets are %q and %q, want none and %q", files["data/0/offsets"], files["data/1/offsets"], want)
	}
	b.nothingLeft(j.ID.String())
}

// A stage that leaves anything but its partitions fails the job, and says where.
func TestOddPartition(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := mapReduce(b.parted(someParts...), 2) // part-00002 is one too many
	j := b.final(b.submit(s))
	f := j.Failure
	if j.State != jobspec.JobFailed || f.Kind != jobspec.KindOutputType || f.Where != "stage map, task 3" || !strings.Contains(f.Hint, "part-00001") {
		t.Errorf("job is %s: %+v, want E_OUTPUT_TYPE of task 3 of stage map", j.State, f)
	}
	if got := b.names(j.Partial); len(got) != 5 {
		t.Errorf("partial outputs are %q, want those of the maps", got)
	}
}

// A task that fails fails the job with what its stage gave; a stage whose image
// is not to be had fails it before anything runs.
func TestStageFails(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := mapReduce(b.parted(someParts...), 3)
	s.Stages[1].Run = spec("DUMMY_WRITE=/outputs/p:partial", "DUMMY_EXIT=3").Run
	j := b.final(b.submit(s))
	if f := j.Failure; j.State != jobspec.JobFailed || f.Kind != jobspec.KindExit || !strings.HasPrefix(f.Where, "stage reduce, task ") || b.outputs(j.Partial)["p"] != "partial" {
		t.Errorf("job is %s: %+v, want the exit of a task of stage reduce", j.State, j.Failure)
	}
	s.Stages[1].Run.Image = "missing"
	j = b.final(b.submit(s))
	if f := j.Failure; j.State != jobspec.JobFailed || len(j.Attempts) > 0 || f.Kind != jobspec.KindImageRef || f.Where != "stages[1].run.image" {
		t.Errorf("job is %s with %d attempts: %+v, want no image for stage 1", j.State, len(j.Attempts), j.Failure)
	}
}

// A stage that works file by file is remembered by files, and read as one tree.
func TestStageOfItems(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	job := func(names ...string) jobspec.Spec {
		files := map[string]jobspec.CID{}
		for _, name := range names {
			files[name] = jobspec.CID{}
		}
		each := perItem(b.input(names...), files)
		return jobspec.Spec{Version: jobspec.Version, Inputs: each.Inputs, Stages: []jobspec.Stage{
			{Name: "each", Run: each.Run, Split: jobspec.Split{By: jobspec.SplitNone}}, {Name: "all", Run: spec("DUMMY_COPY=/inputs:/outputs/all").Run, Needs: []string{"each"}},
		}}
	}
	check := func(s jobspec.Spec, attempts int, want ...string) {
		t.Helper()
		j := b.final(b.submit(s))
		if j.State != jobspec.JobSucceeded || len(j.Attempts) != attempts || j.ItemsDone != len(want) || j.ItemsTotal != len(want) {
			t.Fatalf("job is %s with %d attempts, %d of %d files are done, want %d attempts and %d files: %+v",
				j.State, len(j.Attempts), j.ItemsDone, j.ItemsTotal, attempts, len(want), j.Failure)
		}
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(b.outputs(j.Result)))); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		b.nothingLeft(j.ID.String())
	}
	check(job("x", "y"), 2, "all/x", "all/y")
	check(job("x", "y"), 0, "all/x", "all/y")
	check(job("x", "y", "z"), 2, "all/x", "all/y", "all/z")
}

// A stop between the first task and the last ends the job with what was done.
func TestStopOfStages(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := mapReduce(b.parted(someParts...), 3)
	s.Stages[1].Run.Env = maps.Clone(s.Stages[1].Run.Env)
	s.Stages[1].Run.Env["DUMMY_SLEEP"] = "1h"
	id := b.submit(s)
	for tick := time.Tick(5 * time.Millisecond); len(b.stages(id)) < 2; <-tick {
		if j, err := b.Job(t.Context(), "t", id); err != nil || j.State.Final() {
			t.Fatalf("the second stage never came, job is %s: %+v, %v", j.State, j.Failure, err)
		}
	}
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	j := b.final(id)
	if j.State != jobspec.JobStopped || j.Stages[0].Done != 5 || j.Stages[1].Done != 0 {
		t.Errorf("job is %s, stages %+v, want stopped with the first stage done", j.State, j.Stages)
	}
	b.nothingLeft(id)
	s.Stages[1].Run.Env = nil
	s.Stages[1].Run = spec("DUMMY_COPY=/inputs:/outputs").Run
	if j = b.final(b.submit(s)); j.State != jobspec.JobSucceeded || j.Stages[0].Remembered != 5 {
		t.Errorf("after the stop the job is %s, stages %+v, want the first one remembered: %+v", j.State, j.Stages, j.Failure)
	}
}
