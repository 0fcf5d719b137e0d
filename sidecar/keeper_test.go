package sidecar_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// gone reports whether nothing of a job is left: record, pins and logs.
func (b *bench) gone(id string) bool {
	b.t.Helper()
	_, err := b.Job(b.t.Context(), "t", id)
	pins, perr := b.ipfs.Pins(b.t.Context(), "job/"+id+"/")
	_, lerr := os.Stat(filepath.Join(b.dir, "logs", id))
	if perr != nil {
		b.t.Fatal(perr)
	}
	gone := errors.Is(err, jobspec.KindNotFound.Error())
	if gone && (len(pins) > 0 || !errors.Is(lerr, os.ErrNotExist)) {
		b.t.Errorf("job %s is gone and leaves pins %v, logs %v", id, pins, lerr)
	}
	return gone
}

func TestKeep(t *testing.T) {
	b := newBench(t)
	hour := spec("DUMMY_WRITE=/outputs/a:text", "DUMMY_STDOUT=hello")
	hour.Keep = jobspec.Duration(time.Hour)
	limited := b.submit(hour)
	unlimited := b.submit(spec("DUMMY_WRITE=/outputs/a:text", "DUMMY_STDOUT=hello"))
	b.final(limited)
	b.final(unlimited)
	for _, c := range []struct {
		ahead time.Duration
		gone  bool
	}{{0, false}, {59 * time.Minute, false}, {61 * time.Minute, true}} {
		b.ahead = c.ahead
		b.swept()
		if got := b.gone(limited); got != c.gone {
			t.Errorf("%s later: gone = %v, want %v", c.ahead, got, c.gone)
		}
	}
	if b.gone(unlimited) {
		t.Error("a job without keep is gone")
	}
}

// swept makes a start and returns once its sweep is over.
func (b *bench) swept() {
	b.t.Helper()
	b.stop()
	marker := filepath.Join(b.dir, "logs", "of-no-job") // what the last of the sweeps removes
	if err := os.MkdirAll(marker, 0o755); err != nil {
		b.t.Fatal(err)
	}
	b.start()
	deadline := time.Now().Add(2 * time.Minute)
	for _, err := os.Stat(marker); err == nil && time.Now().Before(deadline); _, err = os.Stat(marker) {
		runtime.Gosched()
	}
}

func TestPrune(t *testing.T) {
	b := newBench(t)
	var ok, bad string
	for _, s := range []jobspec.Spec{spec("DUMMY_STDOUT=x"), spec("DUMMY_STDOUT=x", "DUMMY_EXIT=3")} {
		s.Labels = map[string]string{"run": s.Run.Env["DUMMY_EXIT"] + "."}
		id := b.submit(s)
		if b.final(id).State == jobspec.JobSucceeded {
			ok = id
		} else {
			bad = id
		}
	}
	running := b.submit(spec("DUMMY_SLEEP=1h"))
	b.until(running, jobspec.AttemptRunning)
	prune := func(f api.PruneFilter) (ids []string) {
		t.Helper()
		res, err := b.Prune(t.Context(), "t", f)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range res.Jobs {
			ids = append(ids, j.ID.String())
		}
		return ids
	}
	if got := prune(api.PruneFilter{DryRun: true}); !slices.Equal(got, []string{ok, bad}) || b.gone(ok) || b.gone(bad) {
		t.Errorf("dry run = %q, want %q, %q and nothing removed", got, ok, bad)
	}
	if got := prune(api.PruneFilter{OlderThan: time.Hour}); len(got) != 0 {
		t.Errorf("prune of jobs of an hour ago = %q, want none", got)
	}
	if got := prune(api.PruneFilter{Labels: map[string]string{"run": "nothing"}}); len(got) != 0 {
		t.Errorf("prune by another label = %q, want none", got)
	}
	if res, err := b.Prune(t.Context(), "other", api.PruneFilter{}); err != nil || len(res.Jobs) != 0 {
		t.Errorf("prune by another tenant = %+v, %v, want none", res, err)
	}
	if got := prune(api.PruneFilter{States: []jobspec.JobState{jobspec.JobFailed}}); !slices.Equal(got, []string{bad}) || !b.gone(bad) || b.gone(ok) {
		t.Errorf("prune of failed jobs = %q, want %q", got, bad)
	}
	if got := prune(api.PruneFilter{}); !slices.Equal(got, []string{ok}) || !b.gone(ok) || b.gone(running) {
		t.Errorf("prune = %q, want %q, and the running job left", got, ok)
	}
	if _, err := b.Stop(t.Context(), "t", running); err != nil {
		t.Fatal(err)
	}
	b.final(running)
}
