package script_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire/guest"
	"github.com/ipdc/ipdc/workload/script"
)

// guestBinary is ipdc-guest, so that programs run here as in a container.
var guestBinary string

func TestMain(m *testing.M) { os.Exit(testenv.WithGuest(m, &guestBinary)) }

// job is a program and what it is run on.
type job struct {
	source  string // of a Python file
	options script.Options
	program *script.Program   // instead of source
	inputs  map[string]string // by path
	items   []string          // in this order; default: the inputs sorted
	keep    bool
	retries int
	volume  string // where outputs and report are; default: beside the inputs
}

type ending struct {
	code           int
	stdout, stderr string
	items          []guest.Line // without what was written to stderr
	tails          []string     // of stderr, of the same
	outputs        map[string]string
	rss            int64 // bytes, of the largest process
}

func (j job) run(t *testing.T) ending {
	t.Helper()
	root := t.TempDir()
	at := func(p string) string { return filepath.Join(root, p) }
	for _, d := range []string{"/ipdc", guest.Inputs, guest.Code} {
		must(t, os.MkdirAll(at(d), 0o755))
	}
	if j.volume == "" {
		j.volume = t.TempDir()
	}
	for _, d := range []string{guest.ReportDir, guest.Outputs} {
		real := filepath.Join(j.volume, filepath.Base(d))
		must(t, os.Mkdir(real, 0o755))
		must(t, os.Symlink(real, at(d)))
	}
	p := j.load(t)
	for name, text := range p.Files {
		must(t, os.WriteFile(filepath.Join(at(guest.Code), name), text, 0o444))
	}
	for name, text := range j.inputs {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(at(guest.Inputs), name)), 0o755))
		must(t, os.WriteFile(filepath.Join(at(guest.Inputs), name), []byte(text), 0o444))
	}
	text, err := json.Marshal(j.task(p.Run, root))
	must(t, err)
	must(t, os.WriteFile(at(guest.TaskFile), text, 0o444))
	cmd := exec.Command(guestBinary, "-root", root)
	cmd.Dir = filepath.Join(root, "inputs") // where containers start
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if ee := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	batch, err := guest.Tail(at(guest.ReportFile), 0, guest.Limits{})
	must(t, err)
	if batch.Skipped > 0 || len(batch.Lines) == 0 {
		t.Fatalf("report has %d lines and %d bad ones; stderr:\n%s", len(batch.Lines), batch.Skipped, &stderr)
	}
	var tails []string
	for i := range batch.Lines[:len(batch.Lines)-1] {
		l := &batch.Lines[i]
		tails = append(tails, l.Stderr)
		l.Stderr, l.StderrCut = "", 0
	}
	return ending{tails: tails,
		code:   cmd.ProcessState.ExitCode(),
		stdout: stdout.String(), stderr: stderr.String(),
		items:   batch.Lines[:len(batch.Lines)-1],
		rss:     batch.Lines[len(batch.Lines)-1].MaxRSS,
		outputs: tree(t, filepath.Join(j.volume, "outputs")),
	}
}

func (j job) load(t *testing.T) script.Program {
	t.Helper()
	if j.program != nil {
		return *j.program
	}
	p, err := script.Python([]byte(j.source), j.options)
	must(t, err)
	return p
}

// task is what the sidecar makes of the program, with /code moved to root.
func (j job) task(run jobspec.Run, root string) guest.Task {
	task := guest.Task{Feed: guest.Feed(run.Feed), KeepGoing: j.keep, Retries: j.retries}
	for _, a := range run.Command {
		if strings.HasPrefix(a, guest.Code+"/") {
			a = root + a
		}
		task.Command = append(task.Command, a)
	}
	items := j.items
	if items == nil {
		for p := range j.inputs {
			items = append(items, p)
		}
		slices.Sort(items)
	}
	for _, p := range items {
		task.Items = append(task.Items, guest.Item{Path: p, Size: int64(len(j.inputs[p]))})
	}
	return task
}

func tree(t *testing.T, top string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(p)
		files[rel] = string(text)
		return err
	}))
	return files
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
