package sidecar_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// F61: a stop races with acceptance, start, exit and publication. A stop that
// was granted ends in "stopped", one that was refused in what was there; there
// is one end, and nothing is left.
func TestF61StopRaces(t *testing.T) {
	rounds := 40
	if n, err := strconv.Atoi(os.Getenv("IPDC_PROVE_LONG")); err == nil {
		rounds = 1000 * n
	}
	b := newBench(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d races", seed, rounds)
	r := rand.New(rand.NewPCG(seed, 0))
	ended := map[jobspec.JobState]int{}
	for range rounds {
		s := spec("DUMMY_WRITE=/outputs/a:x")
		s.Cache = jobspec.CacheOff
		id := b.submit(s)
		b.passes(id, r.IntN(8))
		_, err := b.Stop(t.Context(), "t", id)
		j := b.final(id)
		ended[j.State]++
		switch {
		case err == nil && j.State == jobspec.JobStopped && !j.Result.Defined():
		case errors.Is(err, jobspec.KindConflict.Error()) && j.State == jobspec.JobSucceeded && j.Result.Defined():
		default:
			t.Errorf("stop = %v, and the job is %s with the result %q", err, j.State, j.Result)
		}
		if _, err := b.Stop(t.Context(), "t", id); (err == nil) != (j.State == jobspec.JobStopped) {
			t.Errorf("a second stop of a job that is %s = %v", j.State, err)
		}
		finals := 0
		err = b.Events(t.Context(), "t", id, 0, true, func(e jobspec.Event) error {
			if e.Type == jobspec.EventState && jobspec.JobState(e.Detail).Final() {
				finals++
			}
			return nil
		})
		if err != nil || finals != 1 {
			t.Errorf("the job has %d ends, %v", finals, err)
		}
		b.nothingLeft(id)
	}
	t.Logf("ended as %v", ended)
}

// The refusal of a late stop says what does go.
func TestLateStop(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_WRITE=/outputs/a:x"))
	job := b.final(id).Job
	for state, hint := range map[jobspec.JobState]string{jobspec.JobPublished: "ipdc job wait " + id, jobspec.JobSucceeded: "ipdc job rm " + id} {
		job.State = state
		if err := b.store.Update(t.Context(), func(tx *store.Tx) error { return tx.PutJob(job) }); err != nil {
			t.Fatal(err)
		}
		_, err := b.Stop(t.Context(), "t", id)
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindConflict || !strings.Contains(f.Hint, hint) {
			t.Errorf("stop of a job that is %s = %v with the hint %q, want %q", state, err, f.Hint, hint)
		}
	}
}

// passes returns once so many events of a job are written, or it has ended.
func (b *bench) passes(id string, events int) {
	b.t.Helper()
	if events == 0 {
		return
	}
	enough := errors.New("enough")
	err := b.Events(b.t.Context(), "t", id, 0, true, func(jobspec.Event) error {
		if events--; events == 0 {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		b.t.Fatal(err)
	}
}

// What a final job needed on its way goes, although the node was killed
// right after its last row.
func TestSweepAfterTheLastRow(t *testing.T) {
	b := newBench(t)
	id := b.submit(spec("DUMMY_WRITE=/outputs/a:x"))
	j := b.final(id)
	b.stop() // its driver has done the same by then
	if err := b.ipfs.Pin(t.Context(), "job/"+id+"/attempt/0-1", j.Result); err != nil {
		t.Fatal(err)
	}
	merged := "job/" + id + "/merged/union" // asked for since, with ipdc job merge
	if err := b.ipfs.Pin(t.Context(), merged, j.Result); err != nil {
		t.Fatal(err)
	}
	if len(b.leftovers(id)) == 0 {
		t.Fatal("the pin of an attempt is no leftover")
	}
	b.nothingLeft(id)
	if pins, err := b.ipfs.Pins(t.Context(), merged); err != nil || len(pins) != 1 {
		t.Errorf("pins of what the job was merged to = %v, %v, want it kept", pins, err)
	}
}
