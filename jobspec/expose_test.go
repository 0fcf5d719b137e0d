package jobspec_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

func TestCommonPath(t *testing.T) {
	for want, paths := range map[string][]string{
		"":        {"a/1", "b/1"},
		"a/1.log": {"a/1.log"},
		"a":       {"a/1", "a/2", "a/b/3"},
		"a/b":     {"a/b/1", "a/b/c/1"},
		"ab":      {"ab/1", "ab/2"},
	} {
		if got := jobspec.CommonPath(paths); got != want {
			t.Errorf("CommonPath(%q) = %q, want %q", paths, got, want)
		}
	}
	if got := jobspec.CommonPath([]string{"a/b1", "a/b2"}); got != "a" {
		t.Errorf("CommonPath of names that begin alike = %q, want a", got)
	}
}

// exposing is a plan of three shards whose programs are told of them.
func exposing(t *testing.T, e ...jobspec.Exposure) (jobspec.Spec, jobspec.Plan) {
	s, f := itemSpec(), factsOf(1)
	s.Run.Per, s.Run.Feed, s.Expose = jobspec.PerTask, "", e
	s.Split.By = jobspec.SplitSize
	f.Items = nil
	for _, name := range []string{"x", "y", "z"} {
		f.Shards = append(f.Shards, jobspec.Shard{CID: rawCID(name), Path: "dir/" + name})
	}
	return s, newPlan(t, s, f)
}

func TestExposed(t *testing.T) {
	s, p := exposing(t, jobspec.ExposeShard, jobspec.ExposeJob, jobspec.ExposeNode)
	want := []string{
		"BACALHAU_PARTITION_COUNT=3", "BACALHAU_PARTITION_INDEX=1", "IPDC_INPUT_ROOT=" + p.Input.String(), "IPDC_JOB=j", "IPDC_NODE=n",
		"IPDC_SHARD_COUNT=3", "IPDC_SHARD_INDEX=1", "IPDC_SHARD_PATH=dir/y",
	}
	if diff := cmp.Diff(want, s.Exposed(p, p.Tasks[1], "j", "n")); diff != "" {
		t.Errorf("Exposed (-want +got):\n%s", diff)
	}
	s, p = exposing(t)
	if got := s.Exposed(p, p.Tasks[1], "j", "n"); got != nil {
		t.Errorf("Exposed of a program that does not ask = %q, want none", got)
	}
}

// Two runs that are told different things never share a memory; without
// expose the keys are as they were.
func TestExposedIsInTheKey(t *testing.T) {
	keys := map[jobspec.CID]string{}
	add := func(name string, s jobspec.Spec, p jobspec.Plan, task jobspec.Task) {
		if err := p.CheckTask(s, task); err != nil {
			t.Errorf("%s: CheckTask = %v", name, err)
		}
		if other, taken := keys[task.Key]; taken {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[task.Key] = name
	}
	plain, without := exposing(t)
	add("nothing", plain, without, without.Tasks[1])
	s, p := exposing(t, jobspec.ExposeShard)
	add("shard", s, p, p.Tasks[1])
	job, of := exposing(t, jobspec.ExposeJob)
	add("job", job, of, of.Tasks[1])
	for name, change := range map[string]func(*jobspec.Task){
		"index": func(t *jobspec.Task) { t.Index = 2 },
		"count": func(t *jobspec.Task) { t.Count = 4 },
		"path":  func(t *jobspec.Task) { t.Path = "dir" },
	} {
		task := p.Tasks[1]
		change(&task)
		if err := p.CheckTask(s, task); err == nil {
			t.Errorf("another %s has the same key", name)
		}
	}
	other := p
	other.Input = rawCID("another root")
	if err := other.CheckTask(s, p.Tasks[1]); err == nil {
		t.Error("another root has the same key")
	}
}

func TestWhatChangesIsNotRemembered(t *testing.T) {
	for _, test := range []struct {
		expose jobspec.Exposure
		per    jobspec.Per
		by     jobspec.SplitBy
		want   jobspec.Cache
	}{
		{jobspec.ExposeJob, jobspec.PerTask, "", jobspec.CacheOff},
		{jobspec.ExposeNode, jobspec.PerTask, jobspec.SplitSize, jobspec.CacheOff},
		{jobspec.ExposeShard, jobspec.PerTask, "", jobspec.CacheUse},
		{jobspec.ExposeShard, jobspec.PerItem, jobspec.SplitSize, jobspec.CacheUse},
		{jobspec.ExposeShard, jobspec.PerItem, "", jobspec.CacheOff}, // batches depend on who is free
	} {
		s := itemSpec()
		s.Run.Per, s.Split.By, s.Expose = test.per, test.by, []jobspec.Exposure{test.expose}
		if got := s.WithDefaults().Cache; got != test.want {
			t.Errorf("%+v: cache is %s", test, got)
		}
	}
}
