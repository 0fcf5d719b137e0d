package mapreduce

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
)

// DefaultK is how many parts a result has unless a Job says it. It is a
// constant, as the result must not depend on who runs it.
const DefaultK = 4

// MaxRecord is the length of the longest record of Records "bytes:N".
const MaxRecord = 16 << 20

// The names of the stages.
const (
	StageSample = "sample"
	StageMap    = "map"
	StageReduce = "reduce"
)

// Job is a map-reduce as its user asks for it: by Python functions or by
// commands, never both.
type Job struct {
	K int // parts of the result, 1 to jobspec.MaxPartitions; 0 = DefaultK

	// Python functions: map in Map, reduce in Reduce; both may be one file.
	Map, Reduce File
	// Combine asks for a combiner: the function combine in CombineFile, or
	// without one in Map or else in Reduce.
	Combine     bool
	CombineFile File

	// Shell commands by Hadoop streaming's contract. One of Mapper and Reducer
	// may be empty: then lines pass as they are.
	Mapper, Reducer, Combiner string

	Files     map[string][]byte // put beside the program in /code, by base name
	Image     string            // default: "python" or "shell", see docs/mapreduce.md
	Records   string            // "lines" (default), "file" or "bytes:N"
	Partition string            // "hash" (default) or "range"
	SplitSize jobspec.Bytes     // what the input of one map task aims at; 0 = jobspec's default
}

// File is a file of the user.
type File struct {
	Name   string // base name
	Source []byte
}

func (f File) given() bool { return f.Name != "" }

// Program is the spec of a job with what has to be stored for it.
type Program struct {
	Spec  jobspec.Spec        // Version and Stages are set
	Code  []map[string][]byte // of each stage the code folder by base name; nil = none
	Notes []string            // for the user: what was decided, and what is not used
}

// Program returns the spec, or an E_SPEC failure that says what is wrong with
// the job and what to do.
func (j Job) Program() (Program, error) {
	j.K = cmp.Or(j.K, DefaultK)
	if err := cmp.Or(CheckK(j.K), j.check()); err != nil {
		return Program{}, err
	}
	if j.python() {
		return j.functions()
	}
	return j.streaming()
}

func (j Job) python() bool { return j.Map.given() || j.Reduce.given() || j.CombineFile.given() }

// CheckK refuses a number of parts that no result has.
func CheckK(k int) error {
	if k < 1 || k > jobspec.MaxPartitions {
		return refuse("-k", fmt.Sprintf("is %d: a result has 1 to %d parts", k, jobspec.MaxPartitions), "4 is a good number for a few nodes; more than there are nodes is fine")
	}
	return nil
}

var recordsForm = regexp.MustCompile(`^(lines|file|bytes:[1-9][0-9]{0,8})$`)

// check refuses what is wrong in either form.
func (j *Job) check() error {
	if j.Records == "" {
		j.Records = "lines"
	}
	if j.Partition == "" {
		j.Partition = "hash"
	}
	commands := j.Mapper != "" || j.Reducer != "" || j.Combiner != ""
	n, err := j.recordLength()
	switch {
	case j.python() && commands:
		return refuse("--map", "Python functions (--map, --reduce, --combine FILE) and commands (--mapper, --reducer, --combiner) stand side by side", "give one form; a command may run any program, python3 too")
	case !j.python() && !commands:
		return refuse("--map", "there is nothing to run", "give --map Map.py and --reduce Reduce.py, or --mapper COMMAND and --reducer COMMAND; to sort lines and no more, --reducer cat, with --partition range for parts in order")
	case !recordsForm.MatchString(j.Records):
		return refuse("--records", fmt.Sprintf("is %q", j.Records), "want lines, file, or bytes:N such as bytes:100")
	case err != nil || n > MaxRecord:
		return refuse("--records", fmt.Sprintf("has records of %d bytes, at most %d are read", n, MaxRecord), "give larger ones as files, with --records file")
	case j.Partition != "hash" && j.Partition != "range":
		return refuse("--partition", fmt.Sprintf("is %q", j.Partition), "want hash, or range for parts that are in order one behind the other")
	case j.Image == wasi.Image:
		return refuse("--image", "wasm modules cannot be mapper or reducer: these run in containers, beside the program that sorts their pairs", "leave --image out, or name an image of a container engine")
	}
	return nil
}

// recordLength is N of "bytes:N", 0 for others.
func (j Job) recordLength() (int64, error) {
	text, ok := strings.CutPrefix(j.Records, "bytes:")
	if !ok {
		return 0, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// sides are the two halves of a job, in either form.
type sides struct {
	io                  string // how they speak to the guest
	combiner            string // shell command for lines
	sample, mapper      []string
	reducer             []string // nil = as they come
	mapCode, reduceCode map[string][]byte
	offsets             bool // the mapper is told where pieces begin
	image               string
}

// spec makes the stages of both halves.
func (j Job) spec(s sides) Program {
	byRange := j.Partition == "range"
	split := j.split(s.offsets)
	p := Program{Spec: jobspec.Spec{Version: jobspec.Version}}
	add := func(st jobspec.Stage, code map[string][]byte) {
		st.Run.Image, st.Run.Per = s.image, jobspec.PerTask
		p.Spec.Stages, p.Code = append(p.Spec.Stages, st), append(p.Code, code)
	}
	if byRange {
		add(jobspec.Stage{
			Name: StageSample, Split: j.sampled(split), Merge: jobspec.MergeShards, // all are called alike
			Run: jobspec.Run{Command: j.guest("sample", s, s.offsets, s.sample)},
		}, s.mapCode)
	}
	st := jobspec.Stage{Name: StageMap, Split: split, Partitions: j.K}
	if byRange {
		st.Side = []string{StageSample}
	}
	st.Run.Command = j.guest("map", s, s.offsets || byRange, s.mapper)
	add(st, s.mapCode)
	add(jobspec.Stage{
		Name: StageReduce, Needs: []string{StageMap},
		Run: jobspec.Run{Command: behind([]string{guest.Binary, "reduce", "--format=1", "--io=" + s.io}, s.reducer)},
	}, s.reduceCode)
	return p
}

// split says how the input becomes the tasks of sample and map.
func (j Job) split(offsets bool) jobspec.Split {
	s := jobspec.Split{By: jobspec.SplitLines, Size: j.SplitSize, Offsets: offsets}
	switch n, _ := j.recordLength(); {
	case j.Records == "file":
		s.By = jobspec.SplitSize
	case n > 0:
		s.By, s.Record = jobspec.SplitBytes, jobspec.Bytes(n)
	}
	return s
}

// A sample is so many bytes of the input: a second of a mapper's work.
const sampleBytes = 16 * jobspec.MiB

// sampled is the part of the input that sample sees: pieces enough for borders of
// all parts also where the input is in order already.
func (j Job) sampled(s jobspec.Split) jobspec.Split {
	s.Sample = min(max(16, 4*j.K), 4096)
	s.Size = max(sampleBytes/jobspec.Bytes(s.Sample)/jobspec.MinShard, 1) * jobspec.MinShard
	return s
}

// guest is the command of sample or map. With data the input lies a level
// deeper, beside what else the task is shown.
func (j Job) guest(name string, s sides, data bool, program []string) []string {
	c := []string{guest.Binary, name, "--format=1", fmt.Sprintf("--partitions=%d", j.K), "--partition=" + j.Partition, "--io=" + s.io, "--records=" + j.Records}
	if data {
		c = append(c, "--data="+guest.Inputs+"/data")
	}
	if s.combiner != "" && name == "map" {
		c = append(c, "--combiner="+s.combiner)
	}
	return behind(c, program)
}

func behind(c, program []string) []string {
	if len(program) == 0 {
		return c
	}
	return append(append(c, "--"), program...)
}

// folder puts files together; two with one name and another content are
// refused.
func folder(parts ...map[string][]byte) (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, files := range parts {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if old, ok := all[name]; ok && string(old) != string(files[name]) {
				return nil, refuse(name, "two different files of this name would lie beside each other", "rename one of them")
			}
			all[name] = files[name]
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

func refuse(where, detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: where, Detail: detail, Hint: hint}.Error()
}
