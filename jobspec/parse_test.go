package jobspec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

const (
	someCID = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354" // a dag-pb CIDv1
	minimal = "version: ipdc/v1\nrun: {image: python, command: [python3, /code/p.py]}\n"
)

func TestParse(t *testing.T) {
	code, err := jobspec.ParseCID(someCID)
	if err != nil {
		t.Fatal(err)
	}
	want := jobspec.Spec{
		Version: "ipdc/v1",
		Name:    "downscale",
		Labels:  map[string]string{"team": "imaging"},
		Run: jobspec.Run{
			Image: "python", Command: []string{"python3", "/code/process.py"}, Code: code,
			Env: map[string]string{"SIZE": "256"}, Per: jobspec.PerItem, Feed: jobspec.FeedList, KeepGoing: true,
		},
		Inputs:    []jobspec.Input{{CID: someCID + "/photos", At: "/inputs", As: jobspec.AsFiles}},
		Split:     jobspec.Split{By: jobspec.SplitAuto},
		Merge:     jobspec.MergeShards,
		Resources: jobspec.Resources{CPU: 500, Memory: 512 * jobspec.MiB, Disk: 1e9},
		Timeouts:  jobspec.Timeouts{Run: jobspec.Duration(15 * time.Minute), Total: jobspec.Duration(2 * time.Hour)},
		Retry:     jobspec.Retry{Attempts: 2, On: []jobspec.Kind{jobspec.KindLost, jobspec.KindOOM}},
		Isolation: jobspec.IsolationStandard,
		Cache:     jobspec.CacheRefresh,
		Keep:      jobspec.Duration(30 * 24 * time.Hour),
	}
	yamlText := `# a comment
version: ipdc/v1
name: downscale
labels: {team: imaging}
run:
  image: python
  command:
    - python3
    - /code/process.py
  code: ` + someCID + `
  env: {SIZE: "256"}
  per: item
  feed: list
  keep_going: true
inputs: [{cid: ` + someCID + `/photos, at: /inputs, as: files}]
split: {by: auto}
merge: shards
resources: {cpu: 0.5, memory: 512MiB, disk: 1000000000}
timeouts: {run: 15m, total: 2h}
retry: {attempts: 2, on: [lost, oom]}
isolation: standard
cache: refresh
keep: 30d
`
	jsonText, err := json.MarshalIndent(want, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"yaml": yamlText, "json": string(jsonText), "bom": "\xef\xbb\xbf" + yamlText} {
		got, err := jobspec.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: Parse: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b jobspec.CID) bool { return a == b })); diff != "" {
			t.Errorf("%s: Parse (-want +got):\n%s", name, diff)
		}
	}
}

// refused is a spec that must not pass: its kind, and texts that must
// stand in the message.
type refused struct {
	name string
	text string
	kind jobspec.Kind
	says []string
}

func checkRefusals(t *testing.T, list []refused) {
	t.Helper()
	for _, r := range list {
		t.Run(r.name, func(t *testing.T) {
			_, err := jobspec.Parse([]byte(r.text))
			var problems *jobspec.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("Parse error = %v, want *Problems", err)
			}
			f := jobspec.AsFailure(fmt.Errorf("submit: %w", err))
			if f.Kind != r.kind || !errors.Is(err, r.kind.Error()) {
				t.Errorf("kind = %s, want %s: %v", f.Kind, r.kind, err)
			}
			text := f.Where + ": " + f.Detail + " (" + f.Hint + ")"
			for _, s := range r.says {
				if !strings.Contains(text, s) {
					t.Errorf("message %q does not say %q", text, s)
				}
			}
			if len(text) > 20_000 {
				t.Errorf("message has %d bytes", len(text))
			}
		})
	}
}

func TestParseRefusesYAMLTricks(t *testing.T) {
	checkRefusals(t, []refused{
		{"S01 anchor", minimal + "name: &a x\n", jobspec.KindSpec, []string{"name", "line 3", "anchors and aliases"}},
		{"S01 alias", minimal + "name: &a x\nlabels: {l: *a}\n", jobspec.KindSpec, []string{"labels.l", "anchors and aliases"}},
		{"S01 merge key", minimal + "labels: {<<: {a: b}}\n", jobspec.KindSpec, []string{"merge keys"}},
		{"S01 billion laughs", billionLaughs(), jobspec.KindSpec, []string{"anchors"}},
		{"S01 recursive anchor", minimal + "labels: &a [*a]\n", jobspec.KindSpec, []string{"labels", "anchors"}},
		{"S02 tag", minimal + "name: !!str 1\n", jobspec.KindSpec, []string{"name", "tag !!str"}},
		{"S02 custom tag", minimal + "name: !secret x\n", jobspec.KindSpec, []string{"tag !secret"}},
		{"S02 two documents", minimal + "---\nname: x\n", jobspec.KindSpec, []string{"more than one YAML document"}},
		{"S02 no", minimal + "name: no\n", jobspec.KindSpec, []string{"name", `quote it: "no"`}},
		{"S02 exponent", minimal + "name: 1e3\n", jobspec.KindSpec, []string{"name", `quote it: "1e3"`}},
		{"S02 number", minimal + "name: 12\n", jobspec.KindSpec, []string{"want text", `quote it: "12"`}},
		{"S02 bool", minimal + "name: true\n", jobspec.KindSpec, []string{"want text", `quote it: "true"`}},
		{"S02 octal", minimal + "name: 0755\n", jobspec.KindSpec, []string{`quote it: "0755"`}},
		{"S02 octal 1.2", minimal + "name: 0o755\n", jobspec.KindSpec, []string{`quote it: "0o755"`}},
		{"S02 sexagesimal", minimal + "name: 12:30:45\n", jobspec.KindSpec, []string{`quote it: "12:30:45"`}},
		{"S02 timestamp", minimal + "name: 2026-11-21\n", jobspec.KindSpec, []string{`quote it: "2026-11-21"`}},
		{"S02 null", minimal + "name:\n", jobspec.KindSpec, []string{"name", "empty", "leave the key out"}},
		{"S02 env value", minimal[:len(minimal)-2] + ", env: {DEBUG: yes}}\n", jobspec.KindSpec, []string{"run.env.DEBUG", `quote it: "yes"`}},
		{"S02 number as key", minimal + "labels: {1: x}\n", jobspec.KindSpec, []string{"key is not text"}},
		{"S02 list as key", minimal + "labels: {[a]: x}\n", jobspec.KindSpec, []string{"key is not text"}},
		{"not UTF-8", minimal + "name: \xff\n", jobspec.KindSpec, []string{"UTF-8"}},
		{"empty", "", jobspec.KindSpec, []string{"empty"}},
		{"comment only", "# x\n", jobspec.KindSpec, []string{"empty"}},
		{"list", "[a]", jobspec.KindSpec, []string{"no map"}},
		{"broken YAML", "version: [", jobspec.KindSpec, []string{"line"}},
		{"duplicate key", minimal + "version: ipdc/v1\n", jobspec.KindDupKey, []string{"version", "twice"}},
		{"duplicate key in JSON", `{"version":"ipdc/v1","run":{"image":"a","image":"b","command":["x"]}}`, jobspec.KindDupKey, []string{"run.image", "twice"}},
		{"duplicate escaped key in JSON", `{"version":"ipdc/v1","run":{"image":"a","im\u0061ge":"b","command":["x"]}}`, jobspec.KindDupKey, []string{"run.image"}},
		{"too large", minimal + "#" + strings.Repeat("x", jobspec.MaxSpecSize), jobspec.KindLimit, []string{"262144"}},
		{"too deep YAML", minimal + "name: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), jobspec.KindLimit, []string{"32 levels"}},
		{"too deep JSON", `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", jobspec.KindLimit, []string{"32 levels"}},
	})
}

func billionLaughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 lol\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), i-1)
	}
	return b.String()
}

// Refusing must cost little, as anybody who may submit can ask for it.
func TestParseRefusesCheaply(t *testing.T) {
	half := jobspec.MaxSpecSize / 2
	var keys strings.Builder
	for i := 0; keys.Len() < jobspec.MaxSpecSize-300; i++ {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{
		"S01 billion laughs":     billionLaughs(),
		"S01 nested lists":       strings.Repeat("[", half) + strings.Repeat("]", half),
		"S01 open lists":         strings.Repeat("[", jobspec.MaxSpecSize),
		"S01 open maps":          strings.Repeat("{a: ", jobspec.MaxSpecSize/4),
		"S01 many unknown keys":  minimal + keys.String(),
		"S01 many aliases":       "a: &a x\nb: [" + strings.Repeat("*a,", jobspec.MaxSpecSize/3-20) + "]",
		"S01 long key in levels": "{" + strings.Repeat("x", half) + ": {a: no, b: no, c: [no, no, no, {d: no}]}}",
		"S07 long exponent":      minimal + "resources: {cpu: 1e999999999, memory: 1e-999999999}\nretry: {attempts: 1e999999}",
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = jobspec.Parse([]byte(minimal)) // compile the schema outside of the measure
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := cpuTime(t)
			_, err := jobspec.Parse([]byte(text))
			took := cpuTime(t) - start
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Fatal("Parse accepted it")
			}
			if n := len(err.Error()); n > 50_000 {
				t.Errorf("message has %d bytes", n)
			}
			limit, memory := slow(50*time.Millisecond), uint64(10<<20)
			if strings.Contains(name, "many") { // as many values as fit: the YAML reader's own cost
				limit, memory = 4*limit, 4*memory
			}
			if alloc := after.TotalAlloc - before.TotalAlloc; took > limit || alloc > memory {
				t.Errorf("refusing took %v and %d bytes, want at most %v and %d", took, alloc, limit, memory)
			}
		})
	}
}

// cpuTime is the processor time of this process, which other processes do not
// stretch as they do the clock's.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
