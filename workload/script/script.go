package script

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/ipdc/ipdc/jobspec"
)

//go:embed harness.py
var harness []byte

// MaxSource is the size of the largest Python file in bytes.
const MaxSource = 1 << 20

// Program is what a job runs.
type Program struct {
	Run   jobspec.Run       // Image, Command, Per and Feed are set
	Files map[string][]byte // the code folder by base name; its CID belongs into Run.Code; nil = none
}

// Options of Python.
type Options struct {
	Name     string // base name of the file, kept in tracebacks; default "process.py"
	Function string // called for each input file; default: see Python
	Once     bool   // run the file as a script, once per task
	Lines    bool   // call the function with the one line that each input file holds, as text
}

// Python returns the program for a Python file. A function that the file
// defines at its top level is called for each input file: the one that Options
// name, else the only public one, else "process", with Lines "crawl". A file
// without a public function is a script, as with Once, unless Lines is set.
// Anything else is an E_SPEC failure that lists the functions.
func Python(source []byte, o Options) (Program, error) {
	if o.Name == "" {
		o.Name = "process.py"
	}
	if err := check(source, o); err != nil {
		return Program{}, err
	}
	fn, err := choose(source, o)
	if err != nil {
		return Program{}, err
	}
	p := Program{
		Run:   jobspec.Run{Image: "python", Command: []string{"python3", "/code/" + o.Name}, Per: jobspec.PerTask},
		Files: map[string][]byte{o.Name: bytes.Clone(source)},
	}
	if fn == "" {
		return p, nil
	}
	name := "harness.py"
	if o.Name == name {
		name = "ipdc_harness.py"
	}
	p.Files[name] = bytes.Clone(harness)
	p.Run.Command = []string{"python3", "/code/" + name, o.Name, fn}
	if o.Lines {
		p.Run.Command = append(p.Run.Command, "lines")
	}
	p.Run.Per, p.Run.Feed = jobspec.PerItem, jobspec.FeedList
	return p, nil
}

// Shell returns the program for a shell expression: a filter from stdin to
// stdout for each input file, or with once a command in the folder of the
// inputs that writes to $IPDC_OUTPUTS (/outputs).
func Shell(expr string, once bool) Program {
	run := jobspec.Run{Image: "shell", Command: []string{"sh", "-c", expr}, Per: jobspec.PerItem, Feed: jobspec.FeedStdin}
	if once {
		run.Per, run.Feed = jobspec.PerTask, "" // a task starts in the folder of its inputs
	}
	return Program{Run: run}
}

func check(source []byte, o Options) error {
	if err := CheckFile(o.Name, source); err != nil {
		return err
	}
	if o.Once && o.Function != "" {
		return refuse(o, "--once runs the file as a script and --function calls a function of it", "give one of them")
	}
	return nil
}

// CheckFile refuses what cannot be a Python file in a code folder: by its base
// name, its size, or a zero byte in it. The error is of kind E_SPEC.
func CheckFile(name string, source []byte) error {
	o := Options{Name: name}
	bad := name != path.Base(name) || name == "." || name == ".." || name == "/" ||
		len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl)
	switch {
	case bad:
		return refuse(o, "a Python file cannot have this name", "rename it")
	case len(source) > MaxSource:
		return refuse(o, fmt.Sprintf("it has %d bytes, at most %d are allowed", len(source), MaxSource), "put data into the input")
	case bytes.IndexByte(source, 0) >= 0:
		return refuse(o, "it is not Python source: it holds a zero byte", "give a text file")
	}
	return nil
}

// choose returns the function to call, or "" for a script.
func choose(source []byte, o Options) (string, error) {
	if o.Once {
		return "", nil
	}
	all := scan(source)
	d, ok := pick(all, norm.NFKC.String(o.Function), o.fallback())
	switch {
	case !ok && o.Function != "":
		return "", refuse(o, fmt.Sprintf("no function %s at the top level; there is %s", o.Function, list(all)), o.hintChoose())
	case !ok && len(public(all)) == 0 && o.Lines:
		return "", refuse(o, "it defines no function that could be called for a line", "write def crawl(line) at its top level")
	case !ok && len(public(all)) == 0:
		return "", nil
	case !ok:
		return "", refuse(o, "which function is to be called for each "+o.unit()+"? There is "+list(public(all)), o.hintChoose())
	case d.async:
		return "", refuse(o, fmt.Sprintf("%s is an async function, which cannot be called for a %s", d, o.unit()), "write a plain def that calls asyncio.run(...)")
	case d.noParams && o.Lines:
		return "", refuse(o, fmt.Sprintf("%s takes no parameter, so it cannot be called for a line", d), "write def "+d.name+"(line)")
	case d.noParams:
		return "", refuse(o, fmt.Sprintf("%s takes no parameter, so it cannot be called for a file", d), "write def "+d.name+"(file), or run the file as a script with --once")
	}
	return d.name, nil
}

// unit is what the function is called for.
func (o Options) unit() string {
	if o.Lines {
		return "line"
	}
	return "file"
}

// fallback is the function that is meant where a file has several.
func (o Options) fallback() string {
	if o.Lines {
		return "crawl"
	}
	return "process"
}

func (o Options) hintChoose() string {
	if o.Lines {
		return "--function NAME calls one of them for each line; without it, crawl is called"
	}
	return "--function NAME calls one of them for each input file, --once runs the file as a script"
}

// pick applies the rule of Python; ok is false when it names none.
func pick(all []def, name, fallback string) (d def, ok bool) {
	candidates := public(all)
	if name == "" && len(candidates) == 1 {
		return candidates[0], true
	}
	if name == "" {
		name = fallback
	}
	for _, d := range all {
		if d.name == name {
			return d, true
		}
	}
	return def{}, false
}

func public(all []def) (list []def) {
	for _, d := range all {
		if !strings.HasPrefix(d.name, "_") {
			list = append(list, d)
		}
	}
	return list
}

func list(all []def) string {
	const most = 10
	names := make([]string, 0, most)
	for i, d := range all {
		if i == most {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(all)-most)
		}
		names = append(names, d.String())
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func refuse(o Options, detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: o.Name, Detail: detail, Hint: hint}.Error()
}
