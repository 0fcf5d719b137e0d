package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/internal/pace"
	"github.com/ipdc/ipdc/internal/taskrun"
)

// clock is that of a pace: it goes on only while somebody waits.
type clock struct {
	mu     sync.Mutex
	waited time.Duration
	stands chan struct{} // closed by the first wait, and no wait ends; nil: each ends at once
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(1, 0).Add(c.waited)
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stands != nil {
		select {
		case <-c.stands:
		default:
			close(c.stands)
		}
		return nil
	}
	c.waited += d
	due := make(chan time.Time, 1)
	due <- time.Unix(1, 0).Add(c.waited)
	return due
}

// streams gives the guest files in place of its own streams.
func streams(t *testing.T) (stdout, stderr func() string) {
	t.Helper()
	dir := t.TempDir()
	redirect := func(stream **os.File, name string) func() string {
		file, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		old := *stream
		*stream = file
		t.Cleanup(func() {
			*stream = old
			file.Close()
		})
		return func() string {
			b, err := os.ReadFile(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	return redirect(&os.Stdout, "stdout"), redirect(&os.Stderr, "stderr")
}

func (c *children) sh(t *testing.T, script string) taskrun.Exit {
	t.Helper()
	return c.shWith(t, script, 0)
}

// shWith is sh in a task that has some thousandths of a processor.
func (c *children) shWith(t *testing.T, script string, cpu int64) taskrun.Exit {
	t.Helper()
	end, err := c.Run(taskrun.Call{Command: []string{"sh", "-c", script}, Env: os.Environ(), Stdout: os.Stdout, CPU: cpu})
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// A flood on both streams arrives whole and in order, at no more than the pace.
func TestR07FloodIsPaced(t *testing.T) {
	const lines = 400_000
	script := fmt.Sprintf("seq 1000000 %d & seq 5000000 %d >&2; wait; echo end", 1000000+lines-1, 5000000+lines-1)
	flood := func(first int) string {
		var b bytes.Buffer
		for i := range lines {
			fmt.Fprintln(&b, first+i)
		}
		return b.String()
	}
	out, errs := flood(1000000)+"end\n", flood(5000000)
	cost := len(out) + len(errs) + pace.Piece*(2*lines+1)
	for _, tc := range []struct {
		paced bool
		cpu   int64 // thousandths
		rate  float64
	}{{true, 0, pace.Rate}, {true, 4000, pace.Rate}, {true, 100, pace.Rate / 10}, {false, 100, 0}} {
		t.Run(fmt.Sprintf("paced %v cpu %d", tc.paced, tc.cpu), func(t *testing.T) {
			paced := tc.paced
			stdout, stderr := streams(t)
			c := watchSignals()
			defer c.close()
			var at clock
			if paced {
				c.pace = pace.NewAt(at.time, at.after)
			}
			if end := c.shWith(t, script, tc.cpu); end.Code != 0 {
				t.Fatalf("the command ends with %+v", end)
			}
			if stdout() != out || stderr() != errs {
				t.Errorf("%d and %d bytes arrived, and differ from the %d and %d that were written", len(stdout()), len(stderr()), len(out), len(errs))
			}
			// What was in the pipes at the end is not waited for.
			owed := float64(cost - pace.Burst - 2*(64<<10)/8*(8+pace.Piece))
			least := time.Duration(owed / tc.rate * float64(time.Second))
			switch {
			case owed <= 0:
				t.Fatal("the flood is no larger than a burst")
			case paced && at.waited < least:
				t.Errorf("it waited for %v, want at least %v", at.waited, least)
			case paced && at.waited > 3*least:
				t.Errorf("it waited for %v, which is far more than %v", at.waited, least)
			case !paced && at.waited != 0:
				t.Errorf("control: without a pace it waited for %v", at.waited)
			}
		})
	}
}

// A program that floods is stopped in its tracks by the pipe. Its end is not
// held up by what it has said, nor by a process that it leaves behind and that
// goes on saying it. The next command begins when that is paid for.
func TestR07EndOfAFlood(t *testing.T) {
	stdout, _ := streams(t)
	c := watchSignals()
	defer c.close()
	at := &clock{stands: make(chan struct{})}
	c.pace = pace.NewAt(at.time, at.after)
	ended := make(chan taskrun.Exit)
	go func() { // ends with the command
		end, _ := c.Run(taskrun.Call{Command: []string{"yes", strings.Repeat("x", 99)}, Stdout: os.Stdout, Env: os.Environ()})
		ended <- end
	}()
	<-at.stands
	c.kill()
	if end := <-ended; end.Signal != int(syscall.SIGKILL) {
		t.Errorf("it ends with %+v, want killed", end)
	}
	const burst = pace.Burst * 100 / (100 + pace.Piece)
	const pipes = 1 << 20 // as much as is drained at most, which is more than a pipe holds
	if n := len(stdout()); n > burst+pipes || n < burst/2 {
		t.Errorf("%d bytes passed, want those of a burst, %d, and what was in the pipe", n, burst)
	}
	at.stands = nil
	pid := filepath.Join(t.TempDir(), "pid")
	if end := c.sh(t, fmt.Sprintf(`setsid sh -c 'echo $$ >%[1]s; exec yes' & until [ -s %[1]s ]; do :; done`, pid)); end.Code != 0 || at.waited == 0 {
		t.Errorf("the next one ends with %+v, and began after %v: want 0 and later", end, at.waited)
	}
	at.stands = make(chan struct{})
	c.forward(syscall.SIGTERM) // ends the wait of the one after that
	if end := c.sh(t, `echo never`); end.Signal != int(syscall.SIGTERM) {
		t.Errorf("after the guest was asked to end a command ends with %+v", end)
	}
	if strings.Contains(stdout(), "never") {
		t.Error("a command was begun after the guest was asked to end")
	}
}
