package taskrun_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/internal/taskrun"
	"github.com/ipdc/ipdc/wire/guest"
)

// program notes its calls.
type program struct{ calls []taskrun.Call }

func (p *program) Run(c taskrun.Call) (taskrun.Exit, error) {
	p.calls = append(p.calls, c)
	return taskrun.Exit{}, nil
}

func (*program) Stopped() (taskrun.Exit, bool) { return taskrun.Exit{}, false }

func (*program) Usage() (cpu, memory int64) { return 0, 0 }

// Each command is told what its task may use, whose output is paced by that.
func TestCallKnowsItsShare(t *testing.T) {
	for name, text := range map[string]string{
		"once":     `{"command":["x"],"cpu":250}`,
		"per item": `{"command":["x"],"cpu":250,"feed":"stdin","items":[{"path":"a"},{"path":"b"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for dir, file := range map[string]string{guest.ReportDir: "", guest.Outputs: "", guest.Inputs: "", filepath.Dir(guest.TaskFile): filepath.Base(guest.TaskFile)} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
				if file == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(root, dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, item := range []string{"a", "b"} {
				if err := os.WriteFile(filepath.Join(root, guest.Inputs, item), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			p := &program{}
			if code := taskrun.Run(taskrun.Config{Root: root, Program: p}); code != 0 {
				t.Fatalf("Run = %d", code)
			}
			if len(p.calls) == 0 {
				t.Fatal("nothing was called")
			}
			for _, c := range p.calls {
				if c.CPU != 250 {
					t.Errorf("a call has %d thousandths of a processor, want 250", c.CPU)
				}
			}
		})
	}
}
