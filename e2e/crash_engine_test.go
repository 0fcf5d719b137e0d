package e2e

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// engineWatch notes which containers of nodes the engine starts.
type engineWatch struct {
	cmd    *exec.Cmd
	done   sync.WaitGroup
	starts int
	wrong  []string
}

// watchEngine follows the engine's events until its end is called.
func watchEngine(t *testing.T) *engineWatch {
	t.Helper()
	w := &engineWatch{cmd: exec.Command("docker", "events", "--filter", "type=container",
		"--filter", "event=start", "--filter", "event=die", "--format", "{{.Action}} {{.Actor.Attributes.name}}")}
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.done.Go(func() {
		live, started := map[string]map[string]bool{}, map[string]bool{}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			w.read(lines.Text(), live, started)
		}
	})
	return w
}

// read takes an event: of a task, by node and job, one container runs at a time,
// and each of them was started once.
func (w *engineWatch) read(line string, live map[string]map[string]bool, started map[string]bool) {
	what, name, _ := strings.Cut(line, " ")
	p := strings.Split(name, "-") // ipdc, node, job, task, try
	if len(p) != 5 || p[0] != "ipdc" {
		return
	}
	task := strings.Join(p[:4], "-")
	if what == "die" {
		delete(live[task], name)
		return
	}
	w.starts++
	if started[name] {
		w.wrong = append(w.wrong, name+" was started twice")
	}
	for other := range live[task] {
		w.wrong = append(w.wrong, fmt.Sprintf("%s was started while %s ran", name, other))
	}
	if live[task] == nil {
		live[task] = map[string]bool{}
	}
	live[task][name], started[name] = true, true
}

// end returns how many containers were started, and what was wrong.
func (w *engineWatch) end() (starts int, wrong []string) {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	w.done.Wait()
	_ = w.cmd.Wait() // it was ended
	return w.starts, w.wrong
}

func TestEngineWatch(t *testing.T) {
	for _, tt := range []struct {
		name, events string
		wrong        int
	}{
		{"one after the other", "start ipdc-n-j-0-1,die ipdc-n-j-0-1,start ipdc-n-j-0-2", 0},
		{"two tasks", "start ipdc-n-j-0-1,start ipdc-n-j-1-1", 0},
		{"of others", "start a,start a", 0},
		{"two at once", "start ipdc-n-j-0-1,start ipdc-n-j-0-2", 1},
		{"started again", "start ipdc-n-j-0-1,die ipdc-n-j-0-1,start ipdc-n-j-0-1", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w engineWatch
			live, started := map[string]map[string]bool{}, map[string]bool{}
			for line := range strings.SplitSeq(tt.events, ",") {
				w.read(line, live, started)
			}
			if len(w.wrong) != tt.wrong {
				t.Errorf("wrong is %q, want %d", w.wrong, tt.wrong)
			}
		})
	}
}
