package dummy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/jobspec"
)

// State is an engine in memory. Executors that share one see the same
// containers, as two processes see those of one engine.
type State struct {
	mu     sync.Mutex
	boxes  map[executor.ID]*box
	images map[jobspec.ImageID]bool // nil = every image is there
	counts map[string]int
	failed map[string]int // by container name and call: faults met so far
	misuse []string
	down   error
	next   int
	strict string
}

// box is a container. Its fields are guarded by the State's mutex, but for
// ended, which is closed once by the State.
type box struct {
	id     executor.ID
	task   executor.Task
	script Script
	state  string // "created", "running" or "ended"
	exit   executor.Exit
	stderr string
	timer  *time.Timer
	ended  chan struct{}
}

// NewState returns an engine with the given images, or with every image when
// none is given.
func NewState(images ...jobspec.ImageID) *State {
	s := &State{boxes: map[executor.ID]*box{}, counts: map[string]int{}, failed: map[string]int{}}
	for _, id := range images {
		if s.images == nil {
			s.images = map[jobspec.ImageID]bool{}
		}
		s.images[id] = true
	}
	return s
}

// Count returns how many times a call ("create", "start", "wait", "logs",
// "stop", "remove", "list", "info") was made.
func (s *State) Count(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[call]
}

// Misuse returns the calls that broke the contract so far.
func (s *State) Misuse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.misuse)
}

// SetStrict gives strict tasks a kernel of their own by that name, or takes it
// away with "".
func (s *State) SetStrict(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strict = name
}

// SetDown lets every call fail with err, as an engine that does not answer.
// nil brings it back. Programs go on meanwhile.
func (s *State) SetDown(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// Vanish removes the named container without a trace, as an engine does whose
// data was lost. Who waits for it is told that it is lost.
func (s *State) Vanish(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.byName(name); b != nil {
		s.drop(b)
	}
}

// Close kills every program, so that no timer is left.
func (s *State) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range slices.Collect(maps.Values(s.boxes)) {
		s.drop(b)
	}
}

// enter counts a call and returns the fault that it meets first.
func (s *State) enter(call string, b *box) error {
	s.counts[call]++
	if s.down != nil {
		return s.down
	}
	if b == nil {
		return nil
	}
	f, ok := b.script.faults[call]
	key := b.task.Name + " " + call
	if !ok || f.times >= 0 && s.failed[key] >= f.times {
		return nil
	}
	s.failed[key]++
	return f.err
}

func (s *State) broken(format string, a ...any) error {
	text := fmt.Sprintf(format, a...)
	s.misuse = append(s.misuse, text)
	return fmt.Errorf("contract broken: %s", text)
}

func (s *State) byName(name string) *box {
	for _, b := range s.boxes {
		if b.task.Name == name {
			return b
		}
	}
	return nil
}

func (s *State) drop(b *box) {
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.state != "ended" {
		close(b.ended)
	}
	delete(s.boxes, b.id)
}

// run does at once what the script does at its start and ends it later.
func (s *State) run(b *box) {
	b.state = "running"
	b.exit.Started = time.Now().UTC()
	if err := b.files(); err != nil {
		b.stderr = err.Error() + "\n"
		s.end(b, 1, false)
		return
	}
	if b.script.Sleep <= 0 {
		s.end(b, b.script.Code(), b.script.OOM)
		return
	}
	s.endAfter(b, b.script.Sleep, b.script.Code(), b.script.OOM)
}

func (s *State) endAfter(b *box, d time.Duration, code int, oom bool) {
	b.timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.boxes[b.id] == b && b.state == "running" {
			s.end(b, code, oom)
		}
	})
}

// Release ends what sleeps, as if the time of each were over now.
func (s *State) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.boxes {
		if b.state == "running" && b.timer != nil && b.timer.Stop() {
			s.end(b, b.script.Code(), b.script.OOM)
		}
	}
}

func (s *State) end(b *box, code int, oom bool) {
	b.state = "ended"
	b.exit.Code, b.exit.OOM = code, oom
	b.exit.Finished = time.Now().UTC()
	close(b.ended)
}

// files does the script's writes and copies in the host directories that are
// mounted.
func (b *box) files() error {
	for _, c := range b.script.Copies {
		from, err := b.host(c.Path, false)
		if err != nil {
			return err
		}
		to, err := b.host(c.Value, true)
		if err != nil {
			return err
		}
		if err := copyTree(from, to); err != nil {
			return err
		}
	}
	for _, w := range b.script.Writes {
		p, err := b.host(w.Path, true)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, []byte(w.Value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// host returns the host's path of a path in the container.
func (b *box) host(p string, write bool) (string, error) {
	for _, m := range b.task.Mounts {
		rest, ok := strings.CutPrefix(p, m.Target)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if write && m.ReadOnly {
			return "", &fs.PathError{Op: "write", Path: p, Err: fmt.Errorf("read-only file system")}
		}
		return filepath.Join(m.Source, filepath.Clean("/"+rest)), nil
	}
	return "", &fs.PathError{Op: "open", Path: p, Err: fmt.Errorf("read-only file system")}
}

// copyTree copies a directory tree, or one file.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil || info.IsDir() {
		return errors.Join(err, os.CopyFS(to, os.DirFS(from)))
	}
	b, err := os.ReadFile(from)
	return errors.Join(err, os.WriteFile(to, b, 0o644))
}
