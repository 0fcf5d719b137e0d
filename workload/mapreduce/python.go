package mapreduce

import (
	"cmp"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/wire/guest"
	"github.com/ipdc/ipdc/workload/script"
)

//go:embed harness.py
var harness []byte

// harnessName is what the harness is called in /code.
const harnessName = "ipdc_mapreduce.py"

// functions makes the job of Python functions.
func (j Job) functions() (Program, error) {
	combine, note, err := j.checkFunctions()
	if err != nil {
		return Program{}, err
	}
	s := sides{io: "frames", offsets: j.Records != "file", image: cmp.Or(j.Image, "python")}
	s.sample = j.harness("map", s.offsets, "--map="+j.Map.Name, "--records="+j.Records, "--pieces=yes")
	s.mapper = j.harness("map", s.offsets || j.Partition == "range", "--map="+j.Map.Name, "--records="+j.Records)
	s.reducer = j.harness("reduce", false, "--reduce="+j.Reduce.Name)
	ours, combiner := map[string][]byte{harnessName: harness}, map[string][]byte{}
	if combine.given() {
		s.mapper = append(s.mapper, "--combine="+combine.Name)
		combiner[combine.Name] = combine.Source
	}
	if s.mapCode, err = folder(ours, map[string][]byte{j.Map.Name: j.Map.Source}, combiner, j.Files); err != nil {
		return Program{}, err
	}
	if s.reduceCode, err = folder(ours, map[string][]byte{j.Reduce.Name: j.Reduce.Source}, j.Files); err != nil {
		return Program{}, err
	}
	p := j.spec(s)
	if note != "" {
		p.Notes = append(p.Notes, note)
	}
	return p, nil
}

// harness is the command of a half of the job. With data the input lies a level
// deeper, beside what else the task is shown.
func (j Job) harness(half string, data bool, options ...string) []string {
	c := append([]string{"python3", guest.Code + "/" + harnessName, half}, options...)
	if data {
		c = append(c, "--data=data")
	}
	return c
}

// checkFunctions looks for the functions, and finds the file that combine is
// in, if it is asked for.
func (j Job) checkFunctions() (combine File, note string, err error) {
	switch {
	case !j.Map.given():
		return combine, "", refuse("--map", "is missing beside --reduce "+j.Reduce.Name, "give the file that defines map, which may be the same one: --map "+j.Reduce.Name)
	case !j.Reduce.given():
		return combine, "", refuse("--reduce", "is missing beside --map "+j.Map.Name, "give the file that defines reduce, which may be the same one: --reduce "+j.Map.Name)
	}
	for _, f := range []File{j.Map, j.Reduce, j.CombineFile} {
		if !f.given() {
			continue
		}
		if err := script.CheckFile(f.Name, f.Source); err != nil {
			return combine, "", err
		}
		if f.Name == harnessName {
			return combine, "", refuse(f.Name, "is the name of the file that calls the functions", "rename it")
		}
	}
	if err := need(j.Map, "map", "(key, value)"); err != nil {
		return combine, "", err
	}
	if err := need(j.Reduce, "reduce", "(key, values)"); err != nil {
		return combine, "", err
	}
	return j.findCombine()
}

func (j Job) findCombine() (combine File, note string, err error) {
	if j.CombineFile.given() {
		return j.CombineFile, "", need(j.CombineFile, "combine", "(key, values)")
	}
	for _, f := range []File{j.Map, j.Reduce} {
		if !defines(f, "combine") {
			continue
		}
		if !j.Combine {
			return combine, f.Name + " defines combine, which is called only with --combine", nil
		}
		return f, "", need(f, "combine", "(key, values)")
	}
	if j.Combine {
		return combine, "", refuse("--combine", fmt.Sprintf("neither %s nor %s defines combine", j.Map.Name, j.Reduce.Name),
			"write def combine(key, values), or where reduce itself may be used: combine = reduce")
	}
	return combine, "", nil
}

// need refuses a file that does not define a function for two arguments.
func need(f File, name, params string) error {
	list := script.Functions(f.Source)
	i := slices.IndexFunc(list, func(d script.Function) bool { return d.Name == name })
	wish := fmt.Sprintf("write def %s%s", name, params)
	switch {
	case i < 0 && !binds(f, name):
		if old := slices.IndexFunc(list, func(d script.Function) bool { return strings.EqualFold(d.Name, "run"+name) }); old >= 0 {
			wish += fmt.Sprintf("; %s is the original project's form: docs/mapreduce-migration.md says how to convert it", list[old].Name)
		}
		return refuse(f.Name, fmt.Sprintf("it defines no function %s at its top level; there is %s", name, names(list)), wish)
	case i < 0:
		return nil
	case list[i].Async:
		return refuse(f.Name, fmt.Sprintf("%s (line %d) is an async function, which cannot be called here", name, list[i].Line), wish)
	case list[i].NoParams:
		return refuse(f.Name, fmt.Sprintf("%s (line %d) takes no parameter", name, list[i].Line), wish)
	}
	return nil
}

func defines(f File, name string) bool {
	return binds(f, name) || slices.ContainsFunc(script.Functions(f.Source), func(d script.Function) bool { return d.Name == name })
}

// binds reports whether a line at the top level seems to give name a value in
// another way: by an assignment or an import. The interpreter knows it better.
func binds(f File, name string) bool {
	form := regexp.MustCompile(`(?m)^(` + name + `\s*=[^=]|(from\s+\S+\s+)?import\b.*\b` + name + `\b)`)
	return form.Match(f.Source)
}

func names(list []script.Function) string {
	const most = 10
	var names []string
	for i, d := range list {
		if i == most {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(list)-most)
		}
		names = append(names, fmt.Sprintf("%s (line %d)", d.Name, d.Line))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
