package mapreduce_test

import (
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/mapreduce"
)

var update = flag.Bool("update", false, "write testdata/*.golden")

func file(name, source string) mapreduce.File {
	return mapreduce.File{Name: name, Source: []byte(source)}
}

const (
	mapText    = "def map(key, value):\n    yield value, 1\n"
	reduceText = "def reduce(key, values):\n    yield key, sum(values)\n"
	bothText   = mapText + reduceText + "def combine(key, values):\n    yield key, sum(values)\n"
)

var (
	twoFiles = mapreduce.Job{Map: file("Map.py", mapText), Reduce: file("Reduce.py", reduceText)}
	oneFile  = mapreduce.Job{Map: file("wc.py", bothText), Reduce: file("wc.py", bothText)}
)

// Golden: the spec of each form, and which files lie in the code of each stage.
func TestProgram(t *testing.T) {
	for name, change := range map[string]func(*mapreduce.Job){
		"python":       func(j *mapreduce.Job) { *j = twoFiles },
		"python-range": func(j *mapreduce.Job) { *j = oneFile; j.K, j.Combine, j.Partition = 7, true, "range" },
		"python-files": func(j *mapreduce.Job) { *j = oneFile; j.Records, j.Files = "file", map[string][]byte{"stop.txt": nil} },
		"python-bytes": func(j *mapreduce.Job) {
			*j = twoFiles
			j.Records, j.Partition, j.SplitSize = "bytes:100", "range", 1<<20
		},
		"streaming":     func(j *mapreduce.Job) { j.Mapper, j.Reducer, j.Combiner = "tr ' ' '\\n'", "uniq -c", "cat" },
		"streaming-py":  func(j *mapreduce.Job) { j.Mapper, j.Files = "./map.py", map[string][]byte{"map.py": []byte("x")} },
		"streaming-cat": func(j *mapreduce.Job) { j.Reducer, j.Partition, j.Image = "cat", "range", "busybox" },
	} {
		t.Run(name, func(t *testing.T) {
			var j mapreduce.Job
			change(&j)
			p, err := j.Program()
			if err != nil {
				t.Fatal(err)
			}
			again, _ := j.Program()
			if !reflect.DeepEqual(p, again) {
				t.Error("the same job gives another program")
			}
			spec := p.Spec
			spec.Inputs = []jobspec.Input{{CID: "bafkqaaa"}}
			if err := spec.WithDefaults().Validate(); err != nil {
				t.Errorf("the spec is refused: %v", err)
			}
			golden(t, name, p)
		})
	}
}

func golden(t *testing.T, name string, p mapreduce.Program) {
	t.Helper()
	type stage struct {
		jobspec.Stage
		Files []string `json:"files"`
	}
	var list []stage
	for i, st := range p.Spec.Stages {
		list = append(list, stage{st, slices.Sorted(maps.Keys(p.Code[i]))})
	}
	got, err := json.MarshalIndent(list, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
		t.Errorf("spec (-golden +got):\n%s", d)
	}
}

// Another Reduce.py leaves the map stage as it is, and so what is remembered.
func TestStagesAreApart(t *testing.T) {
	a, err := twoFiles.Program()
	if err != nil {
		t.Fatal(err)
	}
	j := twoFiles
	j.Reduce.Source = []byte(reduceText + "# changed\n")
	b, err := j.Program()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a.Spec, b.Spec) || !reflect.DeepEqual(a.Code[0], b.Code[0]) {
		t.Error("the spec or the code of map differs")
	}
	if reflect.DeepEqual(a.Code[1], b.Code[1]) {
		t.Error("code of reduce is the same")
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*mapreduce.Job)
		want   []string
	}{
		{"nothing", func(j *mapreduce.Job) { *j = mapreduce.Job{} }, []string{"nothing to run", "--mapper", "--reducer cat"}},
		{"both forms", func(j *mapreduce.Job) { j.Mapper = "cat" }, []string{"side by side", "one form"}},
		{"k too small", func(j *mapreduce.Job) { j.K = -1 }, []string{"-k", "is -1", "1 to 10000"}},
		{"k too large", func(j *mapreduce.Job) { j.K = 10001 }, []string{"is 10001", "1 to 10000"}},
		{"records", func(j *mapreduce.Job) { j.Records = "bytes:0" }, []string{"--records", `"bytes:0"`, "bytes:100"}},
		{"records too long", func(j *mapreduce.Job) { j.Records = "bytes:99999999" }, []string{"99999999 bytes", "16777216", "--records file"}},
		{"partition", func(j *mapreduce.Job) { j.Partition = "sort" }, []string{"--partition", "hash", "range"}},
		{"wasm", func(j *mapreduce.Job) { j.Image = "wasm" }, []string{"--image", "wasm", "containers"}},
		{"no map", func(j *mapreduce.Job) { j.Map.Source = []byte("def f(x): pass\ndef g(): pass\n") }, []string{"Map.py", "no function map", "f (line 1), g (line 2)", "def map(key, value)"}},
		{"no reduce", func(j *mapreduce.Job) { j.Reduce.Source = nil }, []string{"Reduce.py", "there is none", "def reduce(key, values)"}},
		{"original form", func(j *mapreduce.Job) { j.Map.Source = []byte("def RunMap(line): pass\n") }, []string{"RunMap", "docs/mapreduce-migration.md"}},
		{"async", func(j *mapreduce.Job) { j.Map.Source = []byte("async def map(k, v): pass\n") }, []string{"async"}},
		{"no parameter", func(j *mapreduce.Job) { j.Map.Source = []byte("def map(): pass\n") }, []string{"no parameter"}},
		{"only map", func(j *mapreduce.Job) { j.Reduce = mapreduce.File{} }, []string{"--reduce", "missing", "--reduce Map.py"}},
		{"only reduce", func(j *mapreduce.Job) { j.Map = mapreduce.File{} }, []string{"--map", "missing", "--map Reduce.py"}},
		{"no combine", func(j *mapreduce.Job) { j.Combine = true }, []string{"--combine", "neither Map.py nor Reduce.py", "combine = reduce"}},
		{"combine of another file", func(j *mapreduce.Job) { j.CombineFile = file("c.py", mapText) }, []string{"c.py", "no function combine"}},
		{"two files of one name", func(j *mapreduce.Job) { j.Files = map[string][]byte{"Map.py": nil} }, []string{"Map.py", "two different files"}},
		{"zero byte", func(j *mapreduce.Job) { j.Map.Source = []byte("\x00") }, []string{"zero byte"}},
		{"combine with commands", func(j *mapreduce.Job) { *j = mapreduce.Job{Mapper: "cat", Combine: true} }, []string{"--combiner"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := twoFiles
			tc.change(&j)
			_, err := j.Program()
			var f *jobspec.FailureError
			if !errors.As(err, &f) || f.Failure.Kind != jobspec.KindSpec {
				t.Fatalf("Program() = %v, want E_SPEC", err)
			}
			text := f.Failure.Where + ": " + f.Failure.Detail + "; " + f.Failure.Hint
			for _, part := range tc.want {
				if !strings.Contains(text, part) {
					t.Errorf("refusal %q lacks %q", text, part)
				}
			}
		})
	}
}

// A function may be bound in other ways than by def; the interpreter knows it.
func TestBound(t *testing.T) {
	for _, source := range []string{"from mine import map\n", "map = 1\n", "import map\n", "from mine import (a, map)\n"} {
		j := twoFiles
		j.Map.Source = []byte(source)
		if _, err := j.Program(); err != nil {
			t.Errorf("%q: %v", source, err)
		}
	}
	j := oneFile
	p, err := j.Program()
	if err != nil || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "only with --combine") {
		t.Errorf("notes %q, err %v; want one about combine", p.Notes, err)
	}
}
