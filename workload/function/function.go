// Package function reads a program that is stored behind a CID and makes the
// part of a job spec of it that says what is run. What it is decides its
// content, not its name:
//
//	fn, err := function.Read(ctx, source, "bafy...", function.Options{})
//	// pack fn.Files, a folder of files, and put its CID into fn.Run.Code
//	spec.Run = fn.Run
//
// It is a Python file with a function, a directory with such a process.py, a
// job spec, of which the run part is taken, or a WASI module.
//
// Invariants: everything is read within bounds and nothing of it is run; what
// is none of these is refused with what was found and what is accepted.
package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/internal/wasi"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/script"
)

// Bounds of what is read.
const (
	MaxFile  = 64 << 20 // bytes of a file, as of a module
	MaxTotal = 64 << 20 // bytes of a directory
	MaxFiles = 1000     // of a directory, at all depths
	maxDepth = 16
)

// Names that mean something in a directory.
const (
	mainFile         = "process.py"
	requirementsFile = "requirements.txt"
	moduleFile       = "module.wasm"
)

// Source reads what is stored behind paths such as "bafy.../dir/file".
type Source interface {
	// List lists the directory, or describes the file, at a path.
	List(ctx context.Context, path string) (wire.Listing, error)
	// Open reads a file from its beginning. The caller closes it.
	Open(ctx context.Context, file jobspec.CID) (io.ReadCloser, error)
}

// Options say what a Python file or a module is run for; a job spec says it
// itself.
type Options struct {
	Function string // see script.Options
	Once     bool   // once per task in place of once per file
}

// Function is a program that was read.
type Function struct {
	Form  string            // "a WASI module", for messages
	Run   jobspec.Run       // complete but for Code, where Files are
	Files map[string][]byte // the code folder by path; nil = Run.Code holds it, or there is none
}

// Read reads the function at p, a path that Source knows.
func Read(ctx context.Context, src Source, p string, o Options) (Function, error) {
	r := &reader{src: src, at: p, opts: o}
	list, err := src.List(ctx, p)
	if err != nil {
		return Function{}, err
	}
	if list.Dir {
		return r.directory(ctx, list)
	}
	b, err := r.file(ctx, list.CID, list.Size)
	if err != nil {
		return Function{}, err
	}
	return r.single(b)
}

type reader struct {
	src  Source
	at   string
	opts Options
	left int64 // bytes a directory may still have
}

func (r *reader) file(ctx context.Context, c jobspec.CID, size int64) ([]byte, error) {
	tooLarge := func(n int64) error {
		return jobspec.Failure{
			Kind: jobspec.KindLimitBytes, Where: r.at,
			Detail: fmt.Sprintf("a function has at most %d bytes, this has %d or more", int64(MaxFile), n),
			Hint:   "-x is the program; give the data with -c",
		}.Error()
	}
	if size > MaxFile {
		return nil, tooLarge(size)
	}
	body, err := r.src.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(body, MaxFile+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", r.at, err)
	}
	if len(b) > MaxFile {
		return nil, tooLarge(int64(len(b)))
	}
	return b, nil
}

// single makes a function of one file.
func (r *reader) single(b []byte) (Function, error) {
	switch what := detect(b); what {
	case formModule:
		return r.module(b)
	case formSpec:
		spec, err := jobspec.Parse(b)
		if err != nil {
			return Function{}, fmt.Errorf("%s: %w", r.at, err)
		}
		if r.opts.Function != "" || r.opts.Once {
			return Function{}, r.refuse("a job spec says itself what it is run for", "leave --function and --once out")
		}
		return Function{Form: "the run part of a job spec", Run: spec.Run}, nil
	case formText:
		return r.python(b, nil)
	default:
		return Function{}, r.refuse("it is "+string(what), accepted)
	}
}

func (r *reader) module(b []byte) (Function, error) {
	if r.opts.Function != "" {
		return Function{}, r.refuse("a WASI module is run by its _start", "leave --function out")
	}
	run := jobspec.Run{Image: wasi.Image, Command: []string{"/code/" + moduleFile}, Per: jobspec.PerItem, Feed: jobspec.FeedStdin}
	if r.opts.Once {
		run.Per, run.Feed = jobspec.PerTask, ""
	}
	return Function{Form: "a WASI module", Run: run, Files: map[string][]byte{moduleFile: b}}, nil
}

// python makes a function of a Python file, with others beside it.
func (r *reader) python(b []byte, others map[string][]byte) (Function, error) {
	p, err := script.Python(b, script.Options{Name: mainFile, Function: r.opts.Function, Once: r.opts.Once})
	if err != nil {
		return Function{}, fmt.Errorf("%s: %w", r.at, err)
	}
	if p.Run.Per == jobspec.PerTask && !r.opts.Once {
		return Function{}, r.refuse("it is a text that defines no Python function", accepted+"; --once runs a Python file without functions")
	}
	for name, text := range others {
		if _, taken := p.Files[name]; taken {
			return Function{}, r.refuse("its file "+name+" has the name of one of ours", "rename it")
		}
		p.Files[name] = text
	}
	return Function{Form: "a Python function", Run: p.Run, Files: p.Files}, nil
}

// directory makes a function of a directory with a process.py: all its files
// are the code, but for the requirements, which have a CID of their own.
func (r *reader) directory(ctx context.Context, list wire.Listing) (Function, error) {
	has := func(name string) int {
		return slices.IndexFunc(list.Entries, func(e wire.Entry) bool { return e.Name == name && !e.Dir })
	}
	if has(mainFile) < 0 {
		return Function{}, r.refuse("it is a directory without "+mainFile+"; it holds "+names(list.Entries), accepted)
	}
	r.left = MaxTotal
	files := map[string][]byte{}
	if err := r.walk(ctx, list, "", files); err != nil {
		return Function{}, err
	}
	main := files[mainFile]
	delete(files, mainFile)
	delete(files, requirementsFile)
	fn, err := r.python(main, files)
	if i := has(requirementsFile); err == nil && i >= 0 {
		fn.Run.Requirements = list.Entries[i].CID
	}
	return fn, err
}

// walk reads all files below a directory.
func (r *reader) walk(ctx context.Context, list wire.Listing, dir string, files map[string][]byte) error {
	if strings.Count(dir, "/") >= maxDepth {
		return jobspec.KindDepth.Errorf("%s: a function has at most %d levels of directories", r.at, maxDepth)
	}
	for _, e := range list.Entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			sub, err := r.src.List(ctx, e.CID.String())
			if err == nil {
				err = r.walk(ctx, sub, name, files)
			}
			if err != nil {
				return err
			}
			continue
		}
		if r.left -= e.Size; r.left < 0 || len(files) >= MaxFiles {
			return jobspec.Failure{
				Kind: jobspec.KindLimit, Where: r.at, Detail: fmt.Sprintf("a function has at most %d files of %d bytes together", MaxFiles, int64(MaxTotal)),
				Hint: "-x is the program; give the data with -c",
			}.Error()
		}
		b, err := r.file(ctx, e.CID, e.Size)
		if err != nil {
			return err
		}
		files[name] = b
	}
	return nil
}

// names lists a few entries.
func names(entries []wire.Entry) string {
	const most = 5
	var list []string
	for i, e := range entries {
		if i == most {
			return strings.Join(list, ", ") + fmt.Sprintf(" and %d more", len(entries)-most)
		}
		list = append(list, fmt.Sprintf("%q", e.Name))
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

const accepted = "a function is a Python file that defines one, a directory with such a " + mainFile +
	" (and a " + requirementsFile + "), a job spec, or a WASI module (wasm32-wasip1)"

func (r *reader) refuse(detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: r.at, Detail: detail, Hint: hint}.Error()
}
