package jobspec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

// ganged is a spec whose run, or whose only stage's, is a gang.
func ganged(gang, rest string) string { return minimal + "gang: {" + gang + "}\n" + rest }

func TestParseRefusesGangs(t *testing.T) {
	two := "roles: {worker: 2}"
	stage := func(text string) string {
		return "version: ipdc/v1\nstages:\n- {name: a, run: {image: shell, command: [m]}, gang: {" + two + "}" + text + "}\n"
	}
	long := strings.Repeat("r", 33)
	checkRefusals(t, []refused{
		{"no roles", ganged("", ""), jobspec.KindSpec, []string{"gang.roles: is missing"}},
		{"empty roles", ganged("roles: {}", ""), jobspec.KindSpec, []string{"gang.roles: is empty"}},
		{"a role of none", ganged("roles: {worker: 0}", ""), jobspec.KindSpec, []string{"gang.roles.worker: is 0, want 1 to 64"}},
		{"a role of many", ganged("roles: {worker: 65}", ""), jobspec.KindSpec, []string{"gang.roles.worker: is 65, want 1 to 64"}},
		{"many in all", ganged("roles: {a: 64, b: 1}", ""), jobspec.KindSpec, []string{"gang.roles: has 65 tasks in all, at most 64"}},
		{"odd role", ganged("roles: {Worker: 1}", ""), jobspec.KindSpec, []string{"gang.roles.Worker: a role's name"}},
		{"long role", ganged("roles: {"+long+": 1}", ""), jobspec.KindSpec, []string{"gang.roles." + long + ": a role's name"}},
		{"a role of text", ganged("roles: {worker: two}", ""), jobspec.KindSpec, []string{"gang.roles.worker: is text, want a whole number"}},
		{"odd restart", ganged(two+", restart: one", ""), jobspec.KindSpec, []string{"gang.restart: is \"one\", want one of never, all"}},
		{"restarts of never", ganged(two+", restarts: 2", ""), jobspec.KindSpec, []string{"gang.restarts: is 2, and needs restart: all"}},
		{"many restarts", ganged(two+", restart: all, restarts: 101", ""), jobspec.KindSpec, []string{"gang.restarts: is 101, want 1 to 100"}},
		{"ends of nobody", ganged(two+", ends: ps", ""), jobspec.KindSpec, []string{`gang.ends: is "ps", which is no role of the gang: they are worker`}},
		{"unknown key", ganged(two+", restrat: all", ""), jobspec.KindSpec, []string{`gang.restrat`, `did you mean "restart"`}},
		{"per item", strings.Replace(ganged(two, splitInput), "{", "{per: item, ", 1), jobspec.KindSpec, []string{"run.per: is item, and the tasks of a gang"}},
		{"into another number", ganged(two, splitInput+"split: {by: lines, into: 3}\n"), jobspec.KindSpec, []string{"split.into: is 3, and the gang has 2 tasks"}},
		{"by size", ganged(two, splitInput+"split: {by: lines, size: 1MiB}\n"), jobspec.KindSpec, []string{"split.size: says nothing of how many"}},
		{"where the data lies", ganged(two, splitInput+"place: {require: {data: local}}\n"), jobspec.KindSpec, []string{"place.require.data: is local, and the tasks of a gang"}},
		{"cache", ganged(two, "cache: use\n"), jobspec.KindSpec, []string{"cache: is use, and what a gang gave"}},
		{"overflow", ganged(two, "place: {overflow: {to: label=cloud, after: 1m}}\n"), jobspec.KindSpec, []string{"place.overflow: is for tasks that wait one by one"}},
		{"beside stages", stage("") + "gang: {" + two + "}\n", jobspec.KindSpec, []string{"gang: stands beside stages"}},
		{"partitions", stage(", partitions: 2") + "- {name: b, needs: [a], run: {image: shell, command: [r]}}\n", jobspec.KindSpec, []string{"stages[0].partitions: is 2, and the tasks of a gang leave a folder each"}},
		{"over other partitions", staged(mapping, reducing+", gang: {"+two+"}"), jobspec.KindSpec, []string{"stages[1].gang.roles: has 2 tasks, and what they read has 3 partitions"}},
		{"no limit without a gang", minimal + "timeouts: {run: none}\n", jobspec.KindSpec, []string{"timeouts.run: is none, and only a job with a gang", "timeouts.total: is none"}},
		{"no limit of the run alone", ganged(two, "timeouts: {run: none, total: 2h}\n"), jobspec.KindSpec, []string{"timeouts.run: is none, longer than timeouts.total of 2h"}},
		{"no limit of keeping", ganged(two, "keep: none\n"), jobspec.KindSpec, []string{"keep: ", "is not a duration"}},
	})
}

func TestGangDefaults(t *testing.T) {
	s := parse(t, ganged("roles: {worker: 2}, restart: all", splitInput+"split: {by: lines}\ntimeouts: {run: none}\n")).WithDefaults()
	if s.Gang.Restarts != 3 || s.Merge != jobspec.MergeShards || s.Cache != jobspec.CacheOff || s.Split.Into != 2 || s.Timeouts.Total != jobspec.NoLimit {
		t.Errorf("WithDefaults = %+v, merge %s, cache %s, split %+v, total %s", s.Gang, s.Merge, s.Cache, s.Split, s.Timeouts.Total)
	}
	if got := text(t, s); !strings.Contains(got, `"run":"none"`) && !strings.Contains(got, `"run": "none"`) {
		t.Errorf("no limit is written as\n%s", got)
	}
	spec := parse(t, staged(", merge: union", reducing+", gang: {roles: {a: 1}}")+"timeouts: {run: none}\nplace: {min_workers: 2}\ncache: refresh\n")
	plain, gang := spec.WithDefaults().Stage(0), spec.WithDefaults().Stage(1)
	if plain.Gang != nil || plain.Timeouts.Run != jobspec.DefaultRunTimeout || plain.Validate() != nil || plain.Cache != jobspec.CacheRefresh {
		t.Errorf("the stage beside a gang is %+v: %v", plain, plain.Validate())
	}
	if gang.Gang == nil || gang.Timeouts.Run != jobspec.NoLimit || gang.Cache != jobspec.CacheOff || gang.Merge != jobspec.MergeShards || gang.Place.MinWorkers != 2 {
		t.Errorf("the gang's stage is %+v", gang)
	}
}

func TestGangTasks(t *testing.T) {
	g := jobspec.Gang{Roles: map[string]int{"worker": 2, "ps": 1}}
	want := []jobspec.GangTask{{"ps-0", "ps", 20000}, {"worker-0", "worker", 20001}, {"worker-1", "worker", 20002}}
	if diff := cmp.Diff(want, g.Tasks()); diff != "" || g.Count() != 3 {
		t.Errorf("Tasks (-want +got), %d:\n%s", g.Count(), diff)
	}
}

// Each task of a gang reads one shard: there are as many.
func TestGangNeedsAsManyShards(t *testing.T) {
	s := parse(t, ganged("roles: {worker: 2}", splitInput+"split: {by: entries}\n"))
	f := jobspec.Facts{Image: "sha256:x", Arch: "amd64", Input: rawCID("in"), Slots: 1}
	for n := range 4 {
		p, err := jobspec.NewPlan(s, f)
		switch {
		case n == 2 && (err != nil || p.Tasks[1].Name != "worker-1" || p.Tasks[1].Shard != f.Shards[1].CID || p.Tasks[0].Key == p.Tasks[1].Key):
			t.Errorf("%d shards: %+v, %v", n, p.Tasks, err)
		case n != 2 && !errors.Is(err, jobspec.KindSpec.Error()):
			t.Errorf("%d shards: %+v, %v, want it refused", n, p.Tasks, err)
		}
		f.Shards = append(f.Shards, jobspec.Shard{CID: rawCID(strings.Repeat("s", n+1)), Bytes: 1})
	}
}
