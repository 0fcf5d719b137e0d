package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// engineWatch notes which containers of nodes the engine starts.
type engineWatch struct {
	cmd    *exec.Cmd
	said   bytes.Buffer // its errors
	done   sync.WaitGroup
	ending atomic.Bool
	starts int
	of     map[string]map[string]map[string]bool // by job that had a container and by try: the tasks that were started
	wrong  []string
}

// ranJobs are jobs that came to an end by a container of theirs: the control of
// an [engineWatch], which must have seen each of them.
var ranJobs struct {
	sync.Mutex
	gangs map[string]int // how many tasks a job starts at once; 0: it is no gang
}

func ran(id string) { ranAsGang(id, 0) }

func ranAsGang(id string, tasks int) {
	ranJobs.Lock()
	defer ranJobs.Unlock()
	if ranJobs.gangs == nil {
		ranJobs.gangs = map[string]int{}
	}
	ranJobs.gangs[id] = max(tasks, ranJobs.gangs[id])
}

// watchEngine follows the engine's events from now on, whenever it comes to
// listen, until its end is called.
func watchEngine(t *testing.T) *engineWatch {
	t.Helper()
	ranJobs.Lock()
	ranJobs.gangs = map[string]int{}
	ranJobs.Unlock()
	now := time.Now()
	w := &engineWatch{cmd: exec.Command("docker", "events", "--since", fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
		"--filter", "type=container", "--filter", "event=start", "--filter", "event=die",
		"--format", "{{.Action}} {{.Actor.Attributes.name}}")}
	w.cmd.Stderr = &w.said
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.done.Go(func() {
		live, started := map[string]map[string]bool{}, map[string]bool{}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			w.read(lines.Text(), live, started)
		}
		if err := lines.Err(); err != nil {
			w.wrong = append(w.wrong, "events: "+err.Error())
		}
		if !w.ending.Load() {
			w.wrong = append(w.wrong, "the engine's events ended before the test")
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
	job, number := p[2], p[4]
	if w.of == nil {
		w.of = map[string]map[string]map[string]bool{}
	}
	if w.of[job] == nil {
		w.of[job] = map[string]map[string]bool{}
	}
	if w.of[job][number] == nil {
		w.of[job][number] = map[string]bool{}
	}
	w.of[job][number][p[3]] = true
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

// end returns how many containers were started, and what was wrong: also that
// jobs ran of which no container was seen. A task that was handed to a member is
// a job of its own there.
func (w *engineWatch) end() (starts int, wrong []string) {
	w.ending.Store(true)
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	w.done.Wait()
	_ = w.cmd.Wait() // it was ended
	if w.said.Len() > 0 {
		w.wrong = append(w.wrong, "docker events: "+w.said.String())
	}
	ranJobs.Lock()
	defer ranJobs.Unlock()
	if len(w.of) < len(ranJobs.gangs) {
		w.wrong = append(w.wrong, fmt.Sprintf("control: %d jobs were seen to have a container, %d had one", len(w.of), len(ranJobs.gangs)))
	}
	for job, tasks := range ranJobs.gangs {
		w.allOrNone(job, tasks)
	}
	return w.starts, w.wrong
}

// allOrNone holds that in each try of a gang all of its tasks were started, or
// none: no program of it ran without the others.
func (w *engineWatch) allOrNone(job string, tasks int) {
	if tasks == 0 {
		return
	}
	if len(w.of[job]) == 0 {
		w.wrong = append(w.wrong, fmt.Sprintf("control: the gang %s was not seen to start", job))
	}
	for try, started := range w.of[job] {
		if len(started) != tasks {
			w.wrong = append(w.wrong, fmt.Sprintf("of the gang %s %d of %d tasks were started in try %s", job, len(started), tasks, try))
		}
	}
}

func TestEngineWatch(t *testing.T) {
	for _, tt := range []struct {
		name, events string
		wrong        int
		gang         int // how many tasks job j starts at once
	}{
		{"one after the other", "start ipdc-n-j-0-1,die ipdc-n-j-0-1,start ipdc-n-j-0-2", 0, 0},
		{"two tasks", "start ipdc-n-j-0-1,start ipdc-n-j-1-1", 0, 0},
		{"of others", "start a,start a", 0, 0},
		{"two at once", "start ipdc-n-j-0-1,start ipdc-n-j-0-2", 1, 0},
		{"started again", "start ipdc-n-j-0-1,die ipdc-n-j-0-1,start ipdc-n-j-0-1", 1, 0},
		{"a gang", "start ipdc-n-j-0-1,start ipdc-n-j-1-1", 0, 2},
		{"a gang, again", "start ipdc-n-j-0-1,start ipdc-n-j-1-1,die ipdc-n-j-0-1,die ipdc-n-j-1-1,start ipdc-n-j-0-2,start ipdc-n-j-1-2", 0, 2},
		{"a part of a gang", "start ipdc-n-j-0-1", 1, 2},
		{"a part of a gang, again", "start ipdc-n-j-0-1,die ipdc-n-j-0-1,start ipdc-n-j-0-2,start ipdc-n-j-1-2", 1, 2},
		{"no gang", "start ipdc-n-k-0-1", 1, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w engineWatch
			live, started := map[string]map[string]bool{}, map[string]bool{}
			for line := range strings.SplitSeq(tt.events, ",") {
				w.read(line, live, started)
			}
			w.allOrNone("j", tt.gang)
			if len(w.wrong) != tt.wrong {
				t.Errorf("wrong is %q, want %d", w.wrong, tt.wrong)
			}
		})
	}
}
