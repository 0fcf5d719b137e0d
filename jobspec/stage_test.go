package jobspec_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

// staged is a spec of two stages with whatever else stands in them.
func staged(first, second string) string {
	return "version: ipdc/v1\n" + splitInput + "stages:\n" +
		"- {name: map, run: {image: shell, command: [m]}" + first + "}\n" +
		"- {name: reduce, run: {image: shell, command: [r]}" + second + "}\n"
}

const (
	mapping  = ", partitions: 3, split: {by: lines}"
	reducing = ", needs: [map]"
)

func TestParseRefusesStages(t *testing.T) {
	good := staged(mapping, reducing)
	with := func(first, second string) string { return staged(mapping+first, reducing+second) }
	third := func(text string) string {
		return good + "- {name: third, run: {image: shell, command: [r]}" + text + "}\n"
	}
	many := "version: ipdc/v1\nstages:\n"
	for i := range 17 {
		many += "- {name: s" + strings.Repeat("x", i) + ", run: {image: a, command: [b]}"
		if i > 0 {
			many += ", needs: [s" + strings.Repeat("x", i-1) + "]"
		}
		many += "}\n"
	}
	checkRefusals(t, []refused{
		{"run too", good + "run: {image: a, command: [b]}\n", jobspec.KindSpec, []string{"run: ", "beside stages"}},
		{"split too", good + "split: {by: size}\n", jobspec.KindSpec, []string{"split: ", "beside stages"}},
		{"none", "version: ipdc/v1\nstages: []\n", jobspec.KindSpec, []string{"stages: "}},
		{"too many", many, jobspec.KindSpec, []string{"stages: has 17 entries, at most 16"}},
		{"no name", strings.Replace(good, "name: map, ", "", 1), jobspec.KindSpec, []string{"stages[0].name: is missing"}},
		{"odd name", strings.Replace(good, "name: map", "name: Map", 1), jobspec.KindSpec, []string{"stages[0].name", "Map"}},
		{"long name", strings.ReplaceAll(good, "map", strings.Repeat("m", 33)), jobspec.KindSpec, []string{"stages[0].name", "32"}},
		{"same name", third(", needs: [map]") + "- {name: reduce, needs: [third], side: [reduce], run: {image: a, command: [b]}}\n", jobspec.KindSpec, []string{"stages[3].name: reduce stands twice"}},
		{"no run", strings.Replace(good, ", run: {image: shell, command: [r]}", "", 1), jobspec.KindSpec, []string{"stages[1].run: is missing"}},
		{"bad run", strings.Replace(good, "command: [r]", "command: []", 1), jobspec.KindSpec, []string{"stages[1].run.command: is empty"}},
		{"unknown key", with("", ", runs: 1"), jobspec.KindSpec, []string{"stages[1].runs", `did you mean "run"`}},
		{"needs unknown", staged(mapping, ", needs: [maps]"), jobspec.KindSpec, []string{`stages[1].needs[0]: "maps" is no earlier stage`}},
		{"S27 needs itself", staged(mapping, ", needs: [reduce]"), jobspec.KindSpec, []string{`stages[1].needs[0]: "reduce" is no earlier stage`}},
		{"S27 needs a later one", staged(", needs: [reduce]", ""), jobspec.KindSpec, []string{`stages[0].needs[0]: "reduce" is no earlier stage`}},
		{"needs two", third(", needs: [map, reduce]"), jobspec.KindSpec, []string{"stages[2].needs: has 2 entries, at most 1"}},
		{"needed by nobody", staged(", split: {by: lines}", ""), jobspec.KindSpec, []string{`stages[0]: "map" is read by no later stage`}},
		{"side of partitions", third(", needs: [reduce], side: [map]"), jobspec.KindSpec, []string{"stages[2].side[0]: map has partitions"}},
		{"side twice", third(", needs: [map], side: [reduce, reduce]"), jobspec.KindSpec, []string{"stages[2].side[1]: reduce stands twice"}},
		{"side of an unknown one", with("", ", side: [x]"), jobspec.KindSpec, []string{"stages[1].side[0]"}},
		{"side and items", strings.Replace(third(", side: [reduce], split: {by: size}"), "command: [r]}, side", "command: [r], per: item}, side", 1), jobspec.KindSpec, []string{"stages[2].side: is for run.per: task"}},
		{"S23 partitions of 0", staged(", partitions: 0", reducing), jobspec.KindSpec, []string{"stages[0].partitions"}},
		{"S23 partitions over", staged(", partitions: 10001", reducing), jobspec.KindSpec, []string{"stages[0].partitions: is 10001, want 1 to 10000"}},
		{"partitions of the last", with("", ", partitions: 2"), jobspec.KindSpec, []string{"stages[1].partitions: is 2, and no stage comes behind"}},
		{"partitions of batches", strings.Replace(staged(", partitions: 2", reducing), "[m]", "[m], per: item", 1), jobspec.KindSpec, []string{"stages[0].run.per", "no partitions"}},
		{"split of partitions", with("", ", split: {by: size}"), jobspec.KindSpec, []string{"stages[1].split", "each of the 3 partitions of map"}},
		{"items of partitions", strings.Replace(good, "[r]", "[r], per: item", 1), jobspec.KindSpec, []string{"stages[1].run.per", "one partition of map"}},
		{"merge of partitions", with(", merge: union", ""), jobspec.KindSpec, []string{"stages[0].merge"}},
		{"merge of the last", with("", ", merge: union"), jobspec.KindSpec, []string{"stages[1].merge", "the spec's merge"}},
		{"merge of batches", strings.Replace(staged(", merge: concat", ", needs: [map]"), "[m]", "[m], per: item", 1), jobspec.KindSpec, []string{"stages[0].merge: is concat"}},
		{"resources", with("", ", resources: {memory: 1MiB}"), jobspec.KindSpec, []string{"stages[1].resources.memory: is 1MiB"}},
		{"split", staged(", partitions: 3, split: {into: 3}", reducing), jobspec.KindSpec, []string{"stages[0].split.into: needs by"}},
		{"split of nothing", strings.Replace(good, splitInput, "", 1), jobspec.KindSpec, []string{"stages[0].split.by: is lines, and there is no input"}},
		{"items of nothing", strings.Replace(strings.Replace(staged("", reducing), splitInput, "", 1), "[m]", "[m], per: item", 1), jobspec.KindSpec, []string{"inputs: is missing"}},
		{"exposes the shard", good + "expose: [shard]\n", jobspec.KindSpec, []string{"expose: is shard"}},
		{"side of a CAR", strings.Replace(third(", side: [reduce]"), splitInput, "inputs: [{cid: "+someCID+", as: car}]\n", 1), jobspec.KindSpec, []string{"stages[2].side", "CAR"}},
		{"offsets of whole files", strings.Replace(good, "by: lines", "by: size, offsets: true", 1), jobspec.KindSpec, []string{"stages[0].split.offsets: needs by: lines or bytes"}},
		{"offsets without stages", minimal + "split: {offsets: true}\n", jobspec.KindSpec, []string{"split.offsets: needs by"}},
		{"offsets of items", strings.Replace(minimal, "{", "{per: item, ", 1) + splitInput + "split: {by: lines, offsets: true}\n", jobspec.KindSpec, []string{"split.offsets: is for run.per: task"}},
		{"min_workers below", minimal + "place: {min_workers: 0}\n", jobspec.KindSpec, []string{"place.min_workers"}},
		{"min_workers over", minimal + "place: {min_workers: 1001}\n", jobspec.KindSpec, []string{"place.min_workers"}},
	})
}

func TestParseStages(t *testing.T) {
	good := staged(mapping, reducing)
	third := func(text string) string {
		return good + "- {name: third, run: {image: shell, command: [r]}" + text + "}\n"
	}
	for name, text := range map[string]string{
		"retries of items":      good + "- {name: third, run: {image: shell, command: [r], per: item}, needs: [reduce]}\nretry: {items: 2}\n",
		"side of items":         strings.Replace(third(", side: [reduce]"), "[r]", "[r], per: task", 1),
		"split of what is read": staged(", split: {by: size}", ", needs: [map], split: {by: lines, into: 4}"),
		"exposes the job":       good + "expose: [job]\n",
		"two":                   good,
		"offsets of lines":      strings.Replace(good, "by: lines", "by: lines, offsets: true", 1),
		"min_workers":           minimal + "place: {min_workers: 3}\n",
	} {
		if _, err := jobspec.Parse([]byte(text)); err != nil {
			t.Errorf("%s: Parse = %v", name, err)
		}
	}
}

// The spec that a task of a stage runs under is that of a job of this stage
// alone, so that its results are those of such a job.
func TestStageIsAJobAlone(t *testing.T) {
	spec := parse(t, staged(mapping+", resources: {cpu: 2}", reducing)+
		"name: some\nlabels: {a: b}\nretry: {attempts: 5}\nnetwork: [example.org:443]\nkeep: 30d\nplace: {require: {data: local, arch: amd64}, min_workers: 2}\ntimeouts: {run: 1m}\nresources: {memory: 1GiB, cpu: 1}\n").WithDefaults()
	head := "version: ipdc/v1\nname: some\nlabels: {a: b}\nretry: {attempts: 5}\nnetwork: [example.org:443]\nkeep: 30d\ntimeouts: {run: 1m}\n"
	want := parse(t, head+splitInput+"run: {image: shell, command: [m]}\nsplit: {by: lines}\nmerge: shards\nresources: {memory: 1GiB, cpu: 2}\nplace: {require: {data: local, arch: amd64}}\n")
	if diff := cmp.Diff(text(t, want.WithDefaults()), text(t, spec.Stage(0))); diff != "" {
		t.Errorf("stage 0 (-want +got):\n%s", diff)
	}
	want = parse(t, head+"run: {image: shell, command: [r]}\nresources: {memory: 1GiB}\nplace: {require: {arch: amd64}}\n")
	if diff := cmp.Diff(text(t, want.WithDefaults()), text(t, spec.Stage(1))); diff != "" {
		t.Errorf("stage 1 (-want +got):\n%s", diff)
	}
	one := spec.Stage(1).Reading(rawCID("x"))
	if err := one.Validate(); err != nil || one.Inputs[0].CID != rawCID("x").String() {
		t.Errorf("stage 1 over a result reads %+v: %v", one.Inputs, err)
	}
	alone := parse(t, minimal).WithDefaults()
	if diff := cmp.Diff(text(t, alone), text(t, alone.Stage(0))); diff != "" || alone.CountStages() != 1 {
		t.Errorf("the stage of a spec without any (-want +got):\n%s", diff)
	}
	if got := []int{spec.PartsOf(0), spec.PartsOf(1)}; got[0] != 0 || got[1] != 3 {
		t.Errorf("PartsOf = %v, want 0 and 3", got)
	}
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
