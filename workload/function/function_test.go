package function_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/function"
)

// store is a source of listings and files; CIDs are those of the texts.
type store struct {
	lists map[string]wire.Listing
	files map[jobspec.CID][]byte
	lies  bool // sizes are said to be 1
}

func idOf(text string) jobspec.CID {
	sum, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, sum))
}

// newStore holds the tree of files under "root", or one file for the name "".
func newStore(files map[string]string) *store {
	s := &store{lists: map[string]wire.Listing{}, files: map[jobspec.CID][]byte{}}
	for name, text := range files {
		c := idOf(text)
		s.files[c] = []byte(text)
		if name == "" {
			s.lists["root"] = wire.Listing{CID: c, Size: int64(len(text))}
			return s
		}
		dir, at := "root", ""
		for {
			head, rest, deeper := strings.Cut(name, "/")
			at += "/" + head
			l := s.lists[dir]
			e := wire.Entry{Name: head, CID: c, Size: int64(len(text))}
			if deeper {
				e = wire.Entry{Name: head, CID: idOf(at), Dir: true}
			}
			if !slices.ContainsFunc(l.Entries, func(o wire.Entry) bool { return o.Name == head }) {
				l.Entries = append(l.Entries, e)
			}
			l.Dir = true
			s.lists[dir] = l
			if !deeper {
				break
			}
			dir, name = idOf(at).String(), rest
		}
	}
	return s
}

func (s *store) List(_ context.Context, path string) (wire.Listing, error) {
	l, ok := s.lists[path]
	if !ok {
		return l, fmt.Errorf("no list %s", path)
	}
	if s.lies {
		l.Size = 1
	}
	return l, nil
}

func (s *store) Open(_ context.Context, c jobspec.CID) (io.ReadCloser, error) {
	b, ok := s.files[c]
	if !ok {
		return nil, errors.New("no such file")
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

const (
	python = "def up(f):\n    return f.read().upper()\n"
	module = "\x00asm\x01\x00\x00\x00rest"
	spec   = "version: ipdc/v1\nrun: {image: shell, command: [wc, -w], per: item}\ninputs: [{cid: bafkqaaa}]\n"
)

func TestForms(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		opts    function.Options
		image   string
		command string
		per     jobspec.Per
		code    string // names of the code folder
	}{
		"python":        {map[string]string{"": python}, function.Options{}, "python", "python3 /code/harness.py process.py up", jobspec.PerItem, "harness.py process.py"},
		"python script": {map[string]string{"": "print(1)\n"}, function.Options{Once: true}, "python", "python3 /code/process.py", jobspec.PerTask, "process.py"},
		"directory": {
			map[string]string{"process.py": python, "lib/a.py": "x = 1", "requirements.txt": "idna\n"}, function.Options{},
			"python", "python3 /code/harness.py process.py up", jobspec.PerItem, "harness.py lib/a.py process.py",
		},
		"spec":        {map[string]string{"": spec}, function.Options{}, "shell", "wc -w", jobspec.PerItem, ""},
		"json spec":   {map[string]string{"": `{"version":"ipdc/v1","run":{"image":"shell","command":["true"]}}`}, function.Options{}, "shell", "true", "", ""},
		"module":      {map[string]string{"": module}, function.Options{}, "wasm", "/code/module.wasm", jobspec.PerItem, "module.wasm"},
		"module once": {map[string]string{"": module}, function.Options{Once: true}, "wasm", "/code/module.wasm", jobspec.PerTask, "module.wasm"},
	} {
		t.Run(name, func(t *testing.T) {
			fn, err := function.Read(t.Context(), newStore(c.files), "root", c.opts)
			if err != nil {
				t.Fatal(err)
			}
			var code []string
			for name := range fn.Files {
				code = append(code, name)
			}
			slices.Sort(code)
			if got := strings.Join(code, " "); got != c.code {
				t.Errorf("code folder = %s, want %s", got, c.code)
			}
			if fn.Run.Image != c.image || strings.Join(fn.Run.Command, " ") != c.command || fn.Run.Per != c.per {
				t.Errorf("run = %+v, want image %s, command %s, per %s", fn.Run, c.image, c.command, c.per)
			}
			if _, has := c.files["requirements.txt"]; has != fn.Run.Requirements.Defined() || has && fn.Run.Requirements != idOf("idna\n") {
				t.Errorf("requirements = %s, want the CID of the directory's file", fn.Run.Requirements)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	many := map[string]string{"process.py": python}
	for i := range function.MaxFiles {
		many[fmt.Sprint("f", i)] = fmt.Sprint(i)
	}
	for name, c := range map[string]struct {
		files map[string]string
		opts  function.Options
		want  string
	}{
		"elf":              {map[string]string{"": "\x7fELF\x02"}, function.Options{}, "Linux"},
		"component":        {map[string]string{"": "\x00asm\x0d\x00\x01\x00"}, function.Options{}, "component"},
		"shell script":     {map[string]string{"": "#!/bin/sh\necho\n"}, function.Options{}, "/bin/sh"},
		"picture":          {map[string]string{"": "\x89PNG\r\n"}, function.Options{}, "picture"},
		"zip":              {map[string]string{"": "PK\x03\x04"}, function.Options{}, "ZIP"},
		"binary":           {map[string]string{"": "a\x00b"}, function.Options{}, "binary"},
		"latin-1":          {map[string]string{"": "caf\xe9"}, function.Options{}, "binary"},
		"empty":            {map[string]string{"": ""}, function.Options{}, "empty"},
		"prose":            {map[string]string{"": "Dear reader,\n"}, function.Options{}, "no Python function"},
		"no process.py":    {map[string]string{"a": "1", "b/process.py": python}, function.Options{}, `"a"`},
		"wrong spec":       {map[string]string{"": "version: ipdc/v1\nrum: {}\n"}, function.Options{}, "rum"},
		"name of ours":     {map[string]string{"process.py": python, "harness.py": "x"}, function.Options{}, "harness.py"},
		"too many files":   {many, function.Options{}, "1000 files"},
		"too large":        {map[string]string{"": strings.Repeat("x", function.MaxFile+1)}, function.Options{}, "67108864 bytes"},
		"two functions":    {map[string]string{"": python + "def other(f): pass\n"}, function.Options{}, "which function"},
		"function of wasm": {map[string]string{"": module}, function.Options{Function: "f"}, "_start"},
		"once of a spec":   {map[string]string{"": spec}, function.Options{Once: true}, "--once"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(c.files)
			s.lies = name == "too large" // what the listing says is not believed
			_, err := function.Read(t.Context(), s, "root", c.opts)
			f := jobspec.Failure{}
			if err != nil {
				f = jobspec.AsFailure(err)
			}
			if err == nil || !strings.Contains(err.Error()+f.Hint, c.want) || f.Kind == jobspec.KindInternal {
				t.Errorf("Read = %v (%+v), want a refusal that says %q", err, f, c.want)
			}
		})
	}
}
