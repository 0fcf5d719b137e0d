package jobspec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

func TestParseRefusesKeys(t *testing.T) {
	list := []refused{
		{"S04 upper-case key", strings.Replace(minimal, "image:", "Image:", 1), jobspec.KindSpec, []string{"run.Image", `did you mean "image"`}},
		{"S04 both cases", strings.Replace(minimal, "image:", "Image: evil, image:", 1), jobspec.KindSpec, []string{"run.Image"}},
		{"S04 both cases in JSON", `{"version":"ipdc/v1","run":{"image":"a","IMAGE":"b","command":["x"]}}`, jobspec.KindSpec, []string{"run.IMAGE"}},
		{"S05 top", minimal + "nmae: x\n", jobspec.KindSpec, []string{"nmae", `did you mean "name"`}},
		{"S05 run", strings.Replace(minimal, "{", "{comand: [x], ", 1), jobspec.KindSpec, []string{"run.comand", `did you mean "command"`}},
		{"S05 inputs", minimal + "inputs: [{cid: " + someCID + ", path: x}]\n", jobspec.KindSpec, []string{"inputs[0].path", "known here are as, at, cid"}},
		{"S05 split", minimal + "split: {bye: auto}\n", jobspec.KindSpec, []string{"split.bye", `"by"`}},
		{"S05 resources", minimal + "resources: {mem: 1GB}\n", jobspec.KindSpec, []string{"resources.mem", "memory"}},
		{"S05 timeouts", minimal + "timeouts: {totl: 1h}\n", jobspec.KindSpec, []string{"timeouts.totl", `"total"`}},
		{"S05 retry", minimal + "retry: {attempt: 1}\n", jobspec.KindSpec, []string{"retry.attempt", `"attempts"`}},
		{"S05 odd name", minimal + "\"a b\": 1\n", jobspec.KindSpec, []string{`["a b"]`}},
		{"S12 mounts", minimal + "mounts: [{source: /, target: /proc}]\n", jobspec.KindSpec, []string{"mounts", "unknown key"}},
		{"S12 at", minimal + "inputs: [{cid: " + someCID + ", at: /etc/passwd}]\n", jobspec.KindSpec, []string{"inputs[0].at", "/inputs"}},
		{"S14 workdir", strings.Replace(minimal, "{", "{workdir: /proc/self/fd/8, ", 1), jobspec.KindSpec, []string{"run.workdir", "unknown key"}},
		{"S15 user", strings.Replace(minimal, "{", "{user: root, ", 1), jobspec.KindSpec, []string{"run.user", "unknown key"}},
		{"S31 price", minimal + "price: -1\n", jobspec.KindSpec, []string{"price", "unknown key"}},
		{"S31 bid", minimal + "bid: \"1e-30\"\n", jobspec.KindSpec, []string{"bid", "unknown key"}},
		{"S16 hostname", strings.Replace(minimal, "{", "{hostname: x, ", 1), jobspec.KindSpec, []string{"run.hostname", "unknown key"}},
		{"S18 id", minimal + "id: ../../x\n", jobspec.KindSpec, []string{"id", "unknown key"}},
	}
	for _, key := range strings.Fields("privileged cap_add devices security_opt pid ipc uts userns cgroup sysctls volumes_from " +
		"cgroup_parent runtime extra_hosts dns ports restart links net") {
		list = append(list, refused{"S13 " + key, strings.Replace(minimal, "{", "{"+key+": x, ", 1), jobspec.KindSpec, []string{"run." + key, "unknown key"}})
	}
	checkRefusals(t, list)
}

func TestParseRefusesWhatIsForLater(t *testing.T) {
	for path, text := range map[string]string{
		"verify": minimal + "verify: {replicas: 3}\n", "merge": minimal + "merge: none\n",
	} {
		checkRefusals(t, []refused{{path, text, jobspec.KindSpec, []string{path + ": ", "not supported by this version"}}})
	}
}

// splitInput is an input that can be split.
const splitInput = "inputs: [{cid: " + someCID + "}]\n"

// perItem is a spec that runs for each file of an input.
var perItem = strings.Replace(minimal, "{", "{per: item, ", 1) + splitInput

func TestParseRefusesValues(t *testing.T) {
	env := func(pair string) string { return strings.Replace(minimal, "{", "{env: {"+pair+"}, ", 1) }
	list := []refused{
		{"no version", "run: {image: a, command: [b]}", jobspec.KindSpec, []string{"version: is missing"}},
		{"other version", strings.Replace(minimal, "v1", "v9", 1), jobspec.KindSpec, []string{"version", "ipdc/v9", "ipdc/v1"}},
		{"no run", "version: ipdc/v1", jobspec.KindSpec, []string{"run: is missing"}},
		{"no image", "version: ipdc/v1\nrun: {command: [b]}", jobspec.KindSpec, []string{"run.image: is missing"}},
		{"S10 no command", "version: ipdc/v1\nrun: {image: a}", jobspec.KindSpec, []string{"run.command: is missing"}},
		{"S10 empty command", "version: ipdc/v1\nrun: {image: a, command: []}", jobspec.KindSpec, []string{"run.command", "empty"}},
		{"S10 empty program", "version: ipdc/v1\nrun: {image: a, command: ['', x]}", jobspec.KindSpec, []string{"run.command", "empty"}},
		{"S10 command as text", "version: ipdc/v1\nrun: {image: a, command: ls -l}", jobspec.KindSpec, []string{"run.command", "want a list"}},
		{"S10 NUL in command", "version: ipdc/v1\nrun: {image: a, command: [\"a\\0b\"]}", jobspec.KindSpec, []string{"run.command[0]", "NUL"}},
		{"S10 number in command", "version: ipdc/v1\nrun: {image: a, command: [sleep, 1]}", jobspec.KindSpec, []string{"run.command[1]", `quote it: "1"`}},
		{"S10 long argument", "version: ipdc/v1\nrun: {image: a, command: [" + strings.Repeat("x", 200<<10) + "]}", jobspec.KindLimit, []string{"run.command", "128KiB"}},
		{"S10 many arguments", "version: ipdc/v1\nrun: {image: a, command: [" + strings.Repeat("xxxxxxxxxxxxx,", 10_000) + "]}", jobspec.KindLimit, []string{"run.command", "128KiB"}},
		{"S11 long value", env("A: " + strings.Repeat("x", 200<<10)), jobspec.KindLimit, []string{"run.env", "128KiB"}},
		{"S11 equals in key", env(`"A=B": x`), jobspec.KindSpec, []string{"run.env", "letters, digits"}},
		{"S11 newline in key", env(`"A\nB": x`), jobspec.KindSpec, []string{"run.env", "letters, digits"}},
		{"S11 NUL in key", env(`"A\0": x`), jobspec.KindSpec, []string{"run.env", "letters, digits"}},
		{"S11 empty key", env(`"": x`), jobspec.KindSpec, []string{"run.env", "letters, digits"}},
		{"S11 NUL in value", env(`A: "x\0y"`), jobspec.KindSpec, []string{"run.env.A", "NUL"}},
		{"S11 number", env("SIZE: 256"), jobspec.KindSpec, []string{"run.env.SIZE", `quote it: "256"`}},
		{"per", strings.Replace(minimal, "{", "{per: file, ", 1), jobspec.KindSpec, []string{"run.per", "task, item"}},
		{"feed without item", strings.Replace(minimal, "{", "{feed: list, ", 1), jobspec.KindSpec, []string{"run.feed", "per: item"}},
		{"keep_going without item", strings.Replace(minimal, "{", "{keep_going: true, ", 1), jobspec.KindSpec, []string{"run.keep_going", "per: item"}},
		{"item without input", strings.Replace(minimal, "{", "{per: item, ", 1), jobspec.KindSpec, []string{"inputs: is missing"}},
		{"two inputs", minimal + "inputs: [{cid: " + someCID + "}, {cid: " + someCID + "}]", jobspec.KindSpec, []string{"inputs", "at most 1"}},
		{"input without CID", minimal + "inputs: [{at: /inputs}]", jobspec.KindSpec, []string{"inputs[0].cid: is missing"}},
		{"C46 mutable input", minimal + "inputs: [{cid: /ipns/example.org}]", jobspec.KindSpec, []string{"inputs[0].cid", "can change", "resolve it"}},
		{"C46 traversal", minimal + "inputs: [{cid: " + someCID + "/../x}]", jobspec.KindSpec, []string{"inputs[0].cid", "leaves"}},
		{"code is a path", strings.Replace(minimal, "{", "{code: "+someCID+"/x, ", 1), jobspec.KindSpec, []string{"run.code", "not a CID"}},
		{"a CAR per item", strings.Replace(minimal, "{", "{per: item, ", 1) + "inputs: [{cid: " + someCID + ", as: car}]", jobspec.KindSpec, []string{"inputs[0].as", "per: task"}},
		{"a CAR at /inputs", minimal + "inputs: [{cid: " + someCID + ", as: car, at: /inputs}]", jobspec.KindSpec, []string{"inputs[0].at", "/inputs.car"}},
		{"build without requirements", strings.Replace(minimal, "{", "{allow_build: true, ", 1), jobspec.KindSpec, []string{"run.allow_build", "requirements"}},
		{"requirements by name", strings.Replace(minimal, "{", "{requirements: numpy, ", 1), jobspec.KindSpec, []string{"run.requirements"}},
		{"network as text", minimal + "network: none", jobspec.KindSpec, []string{"network", "want a list"}},
		{"network twice", minimal + "network: [a.example:1, A.example.:1]", jobspec.KindSpec, []string{"network[1]", "twice"}},
		{"much network", minimal + "network: [" + strings.Repeat("'a.example:1',", 33) + "]", jobspec.KindSpec, []string{"network", "33", "32"}},
		{"S32 long name", minimal + "name: " + strings.Repeat("ä", 129), jobspec.KindSpec, []string{"name", "129", "128"}},
		{"S32 control character in name", minimal + `name: "a\nb"`, jobspec.KindSpec, []string{"name", "print"}},
		{"S32 direction override in name", minimal + `name: "a\u202eb"`, jobspec.KindSpec, []string{"name", "print"}},
		{"reference as name", minimal + `name: "@last"`, jobspec.KindSpec, []string{"name", "@"}},
		{"label", minimal + "labels: {'a b': c}", jobspec.KindSpec, []string{"labels", "a-z"}},
		{"attempts", minimal + "retry: {attempts: 11}", jobspec.KindSpec, []string{"retry.attempts", "10"}},
		{"fraction of attempts", minimal + "retry: {attempts: 2.5}", jobspec.KindSpec, []string{"retry.attempts", "whole"}},
		{"decimal attempts", minimal + "retry: {attempts: 2.0}", jobspec.KindSpec, []string{"retry.attempts"}},
		{"retry kind", minimal + "retry: {on: [always]}", jobspec.KindSpec, []string{"retry.on[0]", "lost, exit"}},
		{"retry on nothing", minimal + "retry: {on: []}", jobspec.KindSpec, []string{"retry.on"}},
		{"retry twice", minimal + "retry: {on: [lost, lost]}", jobspec.KindSpec, []string{"retry.on[1]", "twice"}},
		{"run over total", minimal + "timeouts: {run: 3h}", jobspec.KindSpec, []string{"timeouts.run", "3h", "2h"}},
		{"no holder", minimal + "replicate: 0", jobspec.KindSpec, []string{"replicate", "1"}},
		{"many holders", minimal + "replicate: 17", jobspec.KindSpec, []string{"replicate", "16"}},
		{"holders in words", minimal + "replicate: all", jobspec.KindSpec, []string{"replicate", "whole"}},
		{"cache", minimal + "cache: 'no'", jobspec.KindSpec, []string{"cache", "use, refresh, off"}},
		{"into alone", minimal + "split: {into: 8}", jobspec.KindSpec, []string{"split.into", "by: size, lines or bytes"}},
		{"into none", perItem + "split: {by: none, into: 8}", jobspec.KindSpec, []string{"split.into", "run.per: item"}},
		{"into too many batches", perItem + "split: {into: 100001}", jobspec.KindSpec, []string{"split.into", "100000"}},
		{"item retries", perItem + "retry: {items: 11}", jobspec.KindSpec, []string{"retry.items", "maximum", "10"}},
		{"item retries below zero", perItem + "retry: {items: -1}", jobspec.KindSpec, []string{"retry.items", "0"}},
		{"item retries of no items", minimal + "retry: {items: 1}", jobspec.KindSpec, []string{"retry.items", "per: item only"}},
		{"size alone", minimal + "split: {by: none, size: 64MiB}", jobspec.KindSpec, []string{"split.size", "by: size, lines or bytes"}},
		{"into of entries", minimal + splitInput + "split: {by: entries, into: 8}", jobspec.KindSpec, []string{"split.into", "by: size, lines or bytes"}},
		{"size of entries", minimal + splitInput + "split: {by: entries, size: 64MiB}", jobspec.KindSpec, []string{"split.size", "by: size, lines or bytes"}},
		{"into of sectors", minimal + splitInput + "split: {by: car, into: 8}", jobspec.KindSpec, []string{"split.into", "by: size, lines or bytes"}},
		{"sectors of nothing", minimal + "split: {by: car}", jobspec.KindSpec, []string{"split.by", "no input"}},
		{"entries of nothing", minimal + "split: {by: entries}", jobspec.KindSpec, []string{"split.by", "no input"}},
		{"split of nothing", minimal + "split: {by: lines}", jobspec.KindSpec, []string{"split.by", "no input"}},
		{"into and size", minimal + splitInput + "split: {by: lines, into: 8, size: 64MiB}", jobspec.KindSpec, []string{"split", "into and size"}},
		{"into nothing", minimal + splitInput + "split: {by: lines, into: 0}", jobspec.KindSpec, []string{"split.into", "1"}},
		{"into too many", minimal + splitInput + "split: {by: size, into: 100001}", jobspec.KindSpec, []string{"split.into", "100000"}},
		{"tiny shards", minimal + splitInput + "split: {by: size, size: 1kB}", jobspec.KindSpec, []string{"split.size", "64KiB"}},
		{"records of no length", minimal + splitInput + "split: {by: bytes}", jobspec.KindSpec, []string{"split.record", "missing"}},
		{"records of lines", minimal + splitInput + "split: {by: lines, record: 100}", jobspec.KindSpec, []string{"split.record", "by: bytes"}},
		{"a sample of an unsplit input", minimal + splitInput + "split: {sample: 16}", jobspec.KindSpec, []string{"split.sample", "by: size, lines"}},
		{"a sample into shards", minimal + splitInput + "split: {by: lines, into: 4, sample: 16}", jobspec.KindSpec, []string{"split.sample", "without into"}},
		{"a large sample", minimal + splitInput + "split: {by: lines, sample: 10001}", jobspec.KindSpec, []string{"split.sample", "10000"}},
		{"huge records", minimal + splitInput + "split: {by: bytes, record: 2GiB}", jobspec.KindSpec, []string{"split.record", "1GiB"}},
		{"split of a CAR", minimal + "inputs: [{cid: " + someCID + ", as: car}]\nsplit: {by: size}", jobspec.KindSpec, []string{"split.by", "CAR"}},
		{"concat of batches", strings.Replace(minimal, "{", "{per: item, ", 1) + "inputs: [{cid: " + someCID + "}]\nmerge: concat", jobspec.KindSpec, []string{"merge", "split.by"}},
		{"gpu", minimal + "resources: {gpu: 65}", jobspec.KindSpec, []string{"resources.gpu", "64"}},
		{"require", minimal + "place: {require: {zone: eu}}", jobspec.KindSpec, []string{"place.require.zone", "arch, region, data"}},
		{"require of a label", minimal + "place: {require: {label.Disk: ssd}}", jobspec.KindSpec, []string{"place.require", "a-z"}},
		{"require of a value", minimal + "place: {require: {label.disk: 'a b'}}", jobspec.KindSpec, []string{"place.require", "printable"}},
		{"require arch", minimal + "place: {require: {arch: ''}}", jobspec.KindSpec, []string{"place.require.arch", "amd64"}},
		{"require data", minimal + "place: {require: {data: far}}", jobspec.KindSpec, []string{"place.require.data", "local"}},
		{"data of nothing", minimal + "place: {require: {data: local}}", jobspec.KindSpec, []string{"place.require.data", "no input"}},
		{"local and any", minimal + splitInput + "place: {require: {data: local}, prefer: any}", jobspec.KindSpec, []string{"place.prefer", "any"}},
		{"much require", minimal + "place: {require: {" + manyLabels(17) + "}}", jobspec.KindSpec, []string{"place.require", "17", "16"}},
		{"prefer", minimal + "place: {prefer: far}", jobspec.KindSpec, []string{"place.prefer", "local, any"}},
		{"overflow without whom", minimal + "place: {overflow: {after: 1m}}", jobspec.KindSpec, []string{"place.overflow.to: is missing"}},
		{"overflow without when", minimal + "place: {overflow: {to: label=cloud}}", jobspec.KindSpec, []string{"place.overflow.after: is missing"}},
		{"overflow to text", minimal + "place: {overflow: {to: cloud, after: 1m}}", jobspec.KindSpec, []string{"place.overflow.to", "label=cloud"}},
		{"overflow to data", minimal + "place: {overflow: {to: data=local, after: 1m}}", jobspec.KindSpec, []string{"place.overflow.to", "data"}},
		{"overflow soon", minimal + "place: {overflow: {to: label=cloud, after: 1ms}}", jobspec.KindSpec, []string{"place.overflow.after", "1s"}},
		{"expose", minimal + "expose: [all]", jobspec.KindSpec, []string{"expose[0]", "shard, job, node"}},
		{"expose twice", minimal + "expose: [job, job]", jobspec.KindSpec, []string{"expose[1]", "twice"}},
		{"memory of what changes", minimal + "expose: [node]\ncache: use", jobspec.KindSpec, []string{"cache", "changes from run to run"}},
		{"S07 little memory", minimal + "resources: {memory: 5MiB}", jobspec.KindSpec, []string{"resources.memory", "5MiB", "6MiB"}},
		{"S07 little cpu", minimal + "resources: {cpu: 0.009}", jobspec.KindSpec, []string{"resources.cpu", "0.01"}},
		{"S07 little disk", minimal + "resources: {disk: 1000}", jobspec.KindSpec, []string{"resources.disk", "1MiB"}},
	}
	for _, key := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "DOCKER_HOST", "IPFS_PATH", "HTTP_PROXY", "https_proxy", "NO_PROXY", "IPDC_TASK"} {
		list = append(list, refused{"S11 " + key, env(key + ": x"), jobspec.KindSpec, []string{"run.env." + key, "reserved"}})
	}
	for _, v := range []string{"-1", "0", ".nan", "NaN", ".inf", "Inf", "1e309", "9223372036854775808", "16EiB", "1e3Gi", "' 1'", "''", "true", "[]", "0x10"} {
		for _, field := range []string{"resources: {cpu: %s}", "resources: {memory: %s}", "resources: {disk: %s}", "timeouts: {run: %s}", "timeouts: {total: %s}", "keep: %s"} {
			text := fmt.Sprintf(field, v)
			list = append(list, refused{"S07 " + text, minimal + text, jobspec.KindSpec, nil})
		}
	}
	checkRefusals(t, list)
}

func TestImageReferences(t *testing.T) {
	id := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for _, ref := range []string{"python", "python:3.12", "ipdc/python:abc", "ghcr.io/o/i@" + id, id, "localhost:5000/x", someCID} {
		if err := jobspec.CheckImage(ref); err != nil {
			t.Errorf("CheckImage(%q) = %v, want nil", ref, err)
		}
	}
	for _, ref := range []string{"", "Python", "a..b/..", "..", "../x", "-rm", strings.Repeat("a", 300), "pÿthon", "a b", "user@host/x", "http://x/y",
		"python:", "a//b", id[:70]} {
		t.Run("M04 "+ref, func(t *testing.T) {
			if err := jobspec.CheckImage(ref); !errors.Is(err, jobspec.KindImageRef.Error()) {
				t.Errorf("CheckImage(%q) = %v, want E_IMAGE_REF", ref, err)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	refusal.Produces(t, jobspec.KindSpec)
	_, err := jobspec.Parse([]byte(`version: ipdc/v1
name: no
nam: x
run: {image: Python, image: b, command: [], env: {PATH: /x, A: 1}, per: item}
inputs: [{cid: /ipns/x, ass: files}]
resources: {cpu: -1, memory: 1MiB, gpu: -1}
timeouts: {run: 3h}
merge: none
`))
	var problems *jobspec.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Parse error = %v, want *Problems", err)
	}
	var got []string
	for _, p := range problems.List {
		got = append(got, p.Path)
	}
	slices.Sort(got)
	want := []string{"inputs[0].ass", "inputs[0].cid", "merge", "nam", "name", "resources.cpu", "resources.gpu", "resources.memory",
		"run.command", "run.env.A", "run.env.PATH", "run.image", "timeouts.run"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	if f := jobspec.AsFailure(err); !refusal.Is(t, f.Error(), jobspec.KindSpec) || !strings.Contains(f.Detail, "13 problems") {
		t.Errorf("AsFailure = %+v, want E_SPEC with 13 problems", f)
	}
}

func TestValidateWithoutParse(t *testing.T) {
	good := parse(t, minimal)
	if err := good.Validate(); err != nil {
		t.Fatalf("Validate = %v, want nil", err)
	}
	for path, change := range map[string]func(*jobspec.Spec){
		"version":          func(s *jobspec.Spec) { s.Version = "x" },
		"name":             func(s *jobspec.Spec) { s.Name = "\xff" },
		"labels.a":         func(s *jobspec.Spec) { s.Labels = map[string]string{"a": "\n"} },
		"run.image":        func(s *jobspec.Spec) { s.Run.Image = "" },
		"run.command[1]":   func(s *jobspec.Spec) { s.Run.Command = []string{"a", "\xff"} },
		"run.env.LD_X":     func(s *jobspec.Spec) { s.Run.Env = map[string]string{"LD_X": ""} },
		"run.per":          func(s *jobspec.Spec) { s.Run.Per = "x" },
		"inputs[0].cid":    func(s *jobspec.Spec) { s.Inputs = []jobspec.Input{{CID: "x"}} },
		"inputs[0].as":     func(s *jobspec.Spec) { s.Inputs = []jobspec.Input{{CID: someCID, As: "tar", At: "/inputs"}} },
		"split.by":         func(s *jobspec.Spec) { s.Split.By = "size" },
		"merge":            func(s *jobspec.Spec) { s.Merge = "none" },
		"resources.cpu":    func(s *jobspec.Spec) { s.Resources.CPU = -1 },
		"resources.memory": func(s *jobspec.Spec) { s.Resources.Memory = -1 },
		"resources.disk":   func(s *jobspec.Spec) { s.Resources.Disk = 1 << 62 },
		"timeouts.run":     func(s *jobspec.Spec) { s.Timeouts.Run = 1 },
		"timeouts.total":   func(s *jobspec.Spec) { s.Timeouts.Total = jobspec.Duration(721 * time.Hour) },
		"retry.attempts":   func(s *jobspec.Spec) { s.Retry.Attempts = -1 },
		"network[0]":       func(s *jobspec.Spec) { s.Network = []string{"example.org"} },
		"isolation":        func(s *jobspec.Spec) { s.Isolation, s.Resources.GPU = jobspec.IsolationStrict, 1 },
		"cache":            func(s *jobspec.Spec) { s.Cache = "x" },
		"keep":             func(s *jobspec.Spec) { s.Keep = -1 },
		"replicate":        func(s *jobspec.Spec) { s.Replicate = 17 },
		"publish[0]":       func(s *jobspec.Spec) { s.Publish = []string{"ftp://example.org/"} },
		"notify[1]":        func(s *jobspec.Spec) { s.Notify = []string{"exec:mail", "exec:mail"} },
		"publish":          func(s *jobspec.Spec) { s.Publish = nineOutlets },
	} {
		s := good
		change(&s)
		var problems *jobspec.Problems
		if err := s.Validate(); !errors.As(err, &problems) || len(problems.List) != 1 || problems.List[0].Path != path {
			t.Errorf("Validate = %v, want one problem at %s", err, path)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	in := parse(t, minimal)
	in.Run.Per, in.Inputs = jobspec.PerItem, []jobspec.Input{{CID: someCID}}
	before, _ := json.Marshal(in)
	got := in.WithDefaults()
	if after, _ := json.Marshal(in); string(after) != string(before) {
		t.Errorf("WithDefaults changed its receiver to %s", after)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"version":"ipdc/v1","run":{"image":"python","command":["python3","/code/p.py"],"per":"item","feed":"stdin"},` +
		`"inputs":[{"cid":"` + someCID + `","at":"/inputs","as":"files"}],"split":{"by":"auto"},"merge":"union",` +
		`"resources":{"cpu":1,"memory":"512MiB","disk":"1GiB"},"timeouts":{"run":"15m","total":"2h"},` +
		`"retry":{"attempts":3,"on":["lost"]},"isolation":"standard","cache":"use"}`
	if string(text) != want {
		t.Errorf("WithDefaults = %s, want %s", text, want)
	}
	if diff := cmp.Diff(string(text), mustJSON(t, got.WithDefaults())); diff != "" {
		t.Errorf("WithDefaults twice (-once +twice):\n%s", diff)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manyLabels is a map of n requirements in YAML.
func manyLabels(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("label.l%d: x", i))
	}
	return strings.Join(list, ", ")
}
