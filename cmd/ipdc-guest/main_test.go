package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/wire/guest"
)

// binary is the program under test, built as it is shipped.
var binary string

func TestMain(m *testing.M) { os.Exit(testenv.WithGuest(m, &binary)) }

// box is a directory that stands for the root of a container.
type box struct {
	t    *testing.T
	root string
}

func newBox(t *testing.T, inputs map[string]string) box {
	t.Helper()
	b := box{t, t.TempDir()}
	for _, d := range []string{guest.ReportDir, guest.Inputs, guest.Outputs} {
		b.must(os.MkdirAll(b.at(d), 0o755))
	}
	for name, text := range inputs {
		path := filepath.Join(b.at(guest.Inputs), name)
		b.must(os.MkdirAll(filepath.Dir(path), 0o755))
		b.must(os.WriteFile(path, []byte(text), 0o644))
	}
	return b
}

func (b box) at(path string) string { return filepath.Join(b.root, path) }

func (b box) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// command writes the task and returns the guest, not started.
func (b box) command(task guest.Task) *exec.Cmd {
	b.t.Helper()
	text, err := json.Marshal(task)
	b.must(err)
	b.must(os.WriteFile(b.at(guest.TaskFile), text, 0o644))
	return exec.Command(binary, "-root", b.root)
}

type result struct {
	code           int
	stdout, stderr string
	lines          []guest.Line
}

func (b box) run(task guest.Task) result {
	b.t.Helper()
	cmd := b.command(task)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	code := exitCode(b.t, cmd.Run())
	return result{code, stdout.String(), stderr.String(), b.report()}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func (b box) report() []guest.Line {
	b.t.Helper()
	batch, err := guest.Tail(b.at(guest.ReportFile), 0, guest.Limits{})
	b.must(err)
	if batch.Skipped > 0 {
		b.t.Errorf("report has %d bad lines", batch.Skipped)
	}
	return batch.Lines
}

// outputs returns all files below the outputs, and empty directories with a
// slash at the end.
func (b box) outputs() map[string]string {
	b.t.Helper()
	files := map[string]string{}
	top := b.at(guest.Outputs)
	b.must(filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if list, err := os.ReadDir(p); err != nil || len(list) > 0 || rel == "." {
				return err
			}
			files[rel+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(p)
		files[rel] = string(text)
		return err
	}))
	return files
}

// items returns items for all paths, in their order.
func items(paths ...string) []guest.Item {
	list := make([]guest.Item, len(paths))
	for i, p := range paths {
		list[i] = guest.Item{Path: p}
	}
	return list
}

func sh(expr string) []string { return []string{"sh", "-c", expr} }
