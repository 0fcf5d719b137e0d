package docker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/executor/docker"
	"github.com/ipdc/ipdc/executor/executortest"
	"github.com/ipdc/ipdc/internal/testenv"
)

// behind opens an executor behind a faulty proxy of the engine. It lets a
// stream be silent for 200 ms only.
func (b *bench) behind(t *testing.T, ask time.Duration) (*testenv.EngineProxy, *docker.Executor) {
	t.Helper()
	p := testenv.NewEngineProxy(t, testenv.Docker(t))
	ex, err := docker.Open(t.Context(), docker.Config{Host: p.Host})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	ex.Hurry(ask, ask, 200*time.Millisecond)
	t.Cleanup(func() { ex.Close() })
	return p, ex
}

// on has a fault happen to the calls that begin and end so, at most n times.
func on(begin, end string, n int, f testenv.Fault) func(string) testenv.Fault {
	var mu sync.Mutex
	return func(call string) testenv.Fault {
		mu.Lock()
		defer mu.Unlock()
		if !strings.HasPrefix(call, begin) || !strings.HasSuffix(call, end) || n == 0 {
			return testenv.Fault{}
		}
		n--
		return f
	}
}

// TestF09EngineHangs has the engine take every call and answer none: each ends
// by itself, says so, and leaves nothing.
func TestF09EngineHangs(t *testing.T) {
	b := newBench(t)
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_SLEEP=300s")
	id := b.start(t, task)
	p, ex := b.behind(t, 100*time.Millisecond)
	p.Break(func(string) testenv.Fault { return testenv.Fault{Hang: true} })
	before := goleak.IgnoreCurrent()
	for name, call := range map[string]func() error{
		"info":   func() error { _, err := ex.Info(t.Context()); return err },
		"create": func() error { _, err := ex.Create(t.Context(), b.task("script")); return err },
		"start":  func() error { return ex.Start(t.Context(), id) },
		"wait":   func() error { _, err := ex.Wait(t.Context(), id); return err },
		"logs":   func() error { return ex.Logs(t.Context(), id, &executortest.Sink{}) },
		"stop":   func() error { return ex.Stop(t.Context(), id, 0) },
		"remove": func() error { return ex.Remove(t.Context(), id) },
		"list":   func() error { _, err := ex.List(t.Context(), prefix); return err },
		"open": func() error {
			_, err := docker.Open(t.Context(), docker.Hasty(docker.Config{Host: p.Host}, 100*time.Millisecond, time.Second, time.Second))
			return err
		},
	} {
		var g errgroup.Group
		for range 5 {
			g.Go(func() error {
				if err := call(); !errors.Is(err, executor.ErrAway) || !strings.Contains(err.Error(), "does not answer") {
					return fmt.Errorf("%s of a hanging engine = %w, want that it does not answer", name, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
	p.Break(nil)
	ex.Relax() // a busy machine is slower than it was let
	if _, err := ex.Info(bounded(t)); err != nil {
		t.Errorf("Info of the mended engine = %v", err)
	}
	if err := ex.Close(); err != nil {
		t.Error(err)
	}
	// Connections that the proxy keeps are all that is left of those calls.
	if err := goleak.Find(before, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*Server).Serve")); err != nil {
		t.Error(err)
	}
}

// TestF10CreateAnswerLost loses the engine's answer to a create: the next one
// finds the container and takes it.
func TestF10CreateAnswerLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, ex := b.behind(t, time.Minute)
	p.Break(on("POST /containers/create", "", 1, testenv.Fault{Lose: true}))
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_EXIT=5")
	if _, err := ex.Create(bounded(t), task); !errors.Is(err, executor.ErrAway) {
		t.Errorf("Create without an answer = %v, want that nobody knows", err)
	}
	made, err := b.ex.List(bounded(t), task.Name)
	if err != nil || len(made) != 1 {
		t.Fatalf("after the lost answer %v, %v, want one container", made, err)
	}
	id, err := ex.Create(bounded(t), task)
	t.Cleanup(func() { _ = b.ex.Remove(bounded(t), made[0].ID) })
	if err != nil || id != made[0].ID {
		t.Errorf("Create again = %s, %v, want the one that is there: %s", id, err, made[0].ID)
	}
	if list, err := b.ex.List(bounded(t), task.Name); err != nil || len(list) != 1 {
		t.Errorf("containers = %v, %v, want one", list, err)
	}
	if err := ex.Start(bounded(t), id); err != nil {
		t.Error(err)
	}
	if exit, err := ex.Wait(bounded(t), id); err != nil || exit.Code != 5 {
		t.Errorf("Wait = %+v, %v, want code 5", exit, err)
	}
}

// TestF11StartAnswerLost loses the answer to a start: the next one looks, and
// the program runs once.
func TestF11StartAnswerLost(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, ex := b.behind(t, time.Minute)
	p.Break(on("POST", "/start", 1, testenv.Fault{Lose: true}))
	for _, sleep := range []string{"0s", "1s"} { // it has ended, or runs
		task := b.task("script")
		task.Env = append(task.Env, "DUMMY_LINES=1", "DUMMY_SLEEP="+sleep)
		p.Break(on("POST", "/start", 1, testenv.Fault{Lose: true}))
		before := p.Calls("POST /containers/")
		id, err := ex.Create(bounded(t), task)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.ex.Remove(bounded(t), id) })
		if err := ex.Start(bounded(t), id); !errors.Is(err, executor.ErrAway) {
			t.Errorf("Start without an answer = %v, want that nobody knows", err)
		}
		if err := ex.Start(bounded(t), id); err != nil {
			t.Errorf("Start again = %v", err)
		}
		if n := p.Calls("POST /containers/") - before; n != 2 {
			t.Errorf("%d calls that change something, want a create and a start", n)
		}
		if exit, err := ex.Wait(bounded(t), id); err != nil || exit.Code != 0 {
			t.Errorf("Wait = %+v, %v", exit, err)
		}
		var sink executortest.Sink
		if err := ex.Logs(bounded(t), id, &sink); err != nil || sink.Out.String() != "line 1\n" {
			t.Errorf("Logs = %q, %v, want one run's", sink.Out.String(), err)
		}
	}
}

// TestF12StreamsSilent has the streams of Wait and Logs stay open and say
// nothing more: the exit code and the output come all the same.
func TestF12StreamsSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_LINES=50", "DUMMY_SLEEP=1s", "DUMMY_EXIT=19")
	for name, rule := range map[string]func(string) testenv.Fault{
		"wait": on("POST", "/wait", -1, testenv.Fault{Hang: true}),
		"logs": on("GET", "/logs", 2, testenv.Fault{Wedge: true, Short: 333}),
		"cut":  on("GET", "/logs", 2, testenv.Fault{Short: 333}),
	} {
		t.Run(name, func(t *testing.T) {
			task.Name = randomName()
			id := b.start(t, task)
			p, ex := b.behind(t, time.Minute)
			p.Break(rule)
			var g errgroup.Group
			var sink executortest.Sink
			g.Go(func() error { return ex.Logs(bounded(t), id, &sink) })
			exit, err := ex.Wait(bounded(t), id)
			if err != nil || exit.Code != 19 {
				t.Errorf("Wait = %+v, %v, want code 19", exit, err)
			}
			var want strings.Builder
			for i := range 50 {
				fmt.Fprintf(&want, "line %d\n", i+1)
			}
			if err := g.Wait(); err != nil || sink.Out.String() != want.String() {
				t.Errorf("Logs = %q, %v, want each line once", sink.Out.String(), err)
			}
		})
	}
}

// TestF13RemovalStuck lets one container's removal go wrong for a while: others
// are made meanwhile, and in the end it is gone.
func TestF13RemovalStuck(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	p, ex := b.behind(t, time.Minute)
	stuck, err := ex.Create(bounded(t), b.task("script"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []testenv.Fault{
		{Status: 500, Text: "driver failed to remove root filesystem: unlinkat: device or resource busy"},
		{Status: 409, Text: "removal of container " + string(stuck) + " is already in progress"},
	} {
		p.Break(on("DELETE /containers/"+string(stuck), "", -1, f))
		before := p.Calls("DELETE /containers/" + string(stuck))
		ctx, cancel := context.WithCancel(bounded(t))
		removed := make(chan error, 1)
		go func() { removed <- ex.Remove(ctx, stuck) }()
		id, err := ex.Create(bounded(t), b.task("script"))
		if err == nil {
			err = errors.Join(ex.Start(bounded(t), id), ex.Remove(bounded(t), id))
		}
		if err != nil {
			t.Errorf("another container beside a removal that does not end: %v", err)
		}
		tick := time.NewTicker(5 * time.Millisecond)
		for end := bounded(t); end.Err() == nil && p.Calls("DELETE /containers/"+string(stuck)) < before+2; {
			<-tick.C // once it has asked again, the engine has said why
		}
		tick.Stop()
		cancel()
		if err := <-removed; err == nil || !strings.Contains(err.Error(), f.Text) {
			t.Errorf("Remove given up = %v, want the engine's text", err)
		}
	}
	p.Break(on("DELETE", "", 3, testenv.Fault{Status: 500, Text: "device or resource busy"}))
	if err := ex.Remove(bounded(t), stuck); err != nil {
		t.Errorf("Remove of what was busy = %v", err)
	}
	if _, err := b.ex.Wait(bounded(t), stuck); err == nil {
		t.Error("the container is still there")
	}
}

// TestF69DamagedLog damages what the engine keeps of the output while it is
// read: the end of the program is known all the same, and reading ends.
func TestF69DamagedLog(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	root := b.engineRoot(t)
	for name, damage := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 100) },
		"corrupted": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte(strings.Repeat("\xff", 200)), 50)
				err = errors.Join(err, f.Close())
			}
			return err
		},
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			task := b.task("script")
			task.Env = append(task.Env, "DUMMY_LINES=200", "DUMMY_SLEEP=1s", "DUMMY_EXIT=7")
			id := b.start(t, task)
			b.await(t, id, "line 200")
			if err := damage(filepath.Join(root, "containers", string(id), "local-logs", "container.log")); err != nil {
				testenv.Need(t, "docker", fmt.Errorf("the engine's own files: %w", err))
			}
			_, ex := b.behind(t, time.Minute)
			logs := make(chan error, 1)
			var sink executortest.Sink
			go func() { logs <- ex.Logs(bounded(t), id, &sink) }()
			if exit, err := ex.Wait(bounded(t), id); err != nil || exit.Code != 7 {
				t.Errorf("Wait = %+v, %v, want code 7", exit, err)
			}
			err := <-logs
			t.Logf("Logs = %v after %d bytes", err, sink.Out.Len())
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Logs did not end: %v", err)
			}
		})
	}
}

// TestF75SocketAway takes the engine's socket away and brings it back: calls
// say so meanwhile, and nothing needs to be opened again.
func TestF75SocketAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	task := b.task("script")
	task.Env = append(task.Env, "DUMMY_SLEEP=1s", "DUMMY_EXIT=3")
	for name, away := range map[string]func(t *testing.T, path string){
		"removed": func(*testing.T, string) {},
		"nobody listens": func(t *testing.T, path string) {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
		},
		"something else": func(t *testing.T, path string) {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			task.Name = randomName()
			id := b.start(t, task)
			p, ex := b.behind(t, time.Minute)
			waited := make(chan error, 1)
			var exit executor.Exit
			go func() {
				var err error
				exit, err = ex.Wait(bounded(t), id)
				waited <- err
			}()
			p.Vanish()
			away(t, strings.TrimPrefix(p.Host, "unix://"))
			if _, err := ex.Info(bounded(t)); !errors.Is(err, executor.ErrAway) {
				t.Errorf("Info = %v, want that the engine does not answer", err)
			}
			if _, err := ex.Create(bounded(t), b.task("script")); !errors.Is(err, executor.ErrAway) {
				t.Errorf("Create = %v, want that the engine does not answer", err)
			}
			p.Appear()
			if _, err := ex.Info(bounded(t)); err != nil {
				t.Errorf("Info of an engine that is back = %v", err)
			}
			if err := <-waited; err != nil || exit.Code != 3 {
				t.Errorf("Wait over the time without an engine = %+v, %v, want code 3", exit, err)
			}
		})
	}
}
