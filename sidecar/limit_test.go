package sidecar_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// TestNoRoom has a job that runs while the disk gets full: it ends well, new
// ones are refused, and a submit that is sent again gets its first answer.
func TestNoRoom(t *testing.T) {
	b := newBench(t)
	full := false
	b.admit = func(context.Context) error {
		if full {
			return jobspec.KindLimit.Errorf("the disk is full")
		}
		return nil
	}
	b.restart()
	sub := api.Submission{Tenant: "t", IdempotencyKey: "k", Spec: spec("DUMMY_SLEEP=100ms", "DUMMY_WRITE=/outputs/a:text")}
	first, _, err := b.Submit(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	full = true
	if again, created, err := b.Submit(t.Context(), sub); err != nil || created || again.ID != first.ID {
		t.Errorf("the same submit again = %s, %v, %v", again.ID, created, err)
	}
	_, _, err = b.Submit(t.Context(), api.Submission{Tenant: "t", Spec: spec("DUMMY_SLEEP=1ms")})
	if f := jobspec.AsFailure(err); err == nil || f.Kind != jobspec.KindLimit {
		t.Errorf("submit to a full node = %v, want E_LIMIT", err)
	}
	if j := b.final(first.ID.String()); j.State != jobspec.JobSucceeded {
		t.Errorf("the job that ran = %s %+v", j.State, j.Failure)
	}
	if list, err := b.Jobs(t.Context(), "t", api.JobFilter{}); err != nil || len(list) != 1 {
		t.Errorf("%d jobs, %v, want the first one only", len(list), err)
	}
}

// An input that is read for too long ends its job, as files and as a CAR.
func TestInputTime(t *testing.T) {
	b := newBench(t)
	b.budget = ipfs.Budget{Time: time.Nanosecond}
	b.restart()
	asFiles := over(b.input("a"))
	asCAR := asFiles
	asCAR.Inputs = []jobspec.Input{{CID: asFiles.Inputs[0].CID, As: jobspec.AsCAR}}
	asCAR.Run.Per = jobspec.PerTask
	for _, s := range []jobspec.Spec{asFiles, asCAR} {
		j := b.final(b.submit(s))
		if j.Failure == nil || j.Failure.Kind != jobspec.KindFetchTimeout || !strings.Contains(j.Failure.Hint, "input-time") || !strings.Contains(j.Failure.Detail, "1ns") {
			t.Errorf("job over %s within 1 ns = %s %+v, want E_FETCH_TIMEOUT and input-time", s.Inputs[0].As, j.State, j.Failure)
		}
	}
}

func TestInputLimitsNameTheirSettings(t *testing.T) {
	b := newBench(t)
	b.budget = ipfs.Budget{Bytes: 12, Entries: 3}
	b.restart()
	for _, c := range []struct {
		files []string
		kind  jobspec.Kind
		says  string
	}{
		{[]string{"a", "b", "c"}, "", ""},
		{[]string{"a", "b", "c", "d"}, jobspec.KindLimitEntries, "--input-entries"},
		{[]string{"twelve bytes", "x"}, jobspec.KindLimitBytes, "--input-bytes"},
	} {
		j := b.final(b.submit(over(b.input(c.files...))))
		switch {
		case c.kind == "" && j.State != jobspec.JobSucceeded:
			t.Errorf("job over %q = %s %+v", c.files, j.State, j.Failure)
		case c.kind != "" && (j.Failure == nil || j.Failure.Kind != c.kind || !strings.Contains(j.Failure.Hint, c.says)):
			t.Errorf("job over %q = %s %+v, want %s and %s", c.files, j.State, j.Failure, c.kind, c.says)
		}
	}
}
