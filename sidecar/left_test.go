package sidecar_test

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ipdc/ipdc/executor/dummy"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// nothingLeft waits for the background cleaning and then looks for what a job
// may leave: containers, volumes, directories, pins. (I5)
func (b *bench) nothingLeft(job string) {
	b.t.Helper()
	b.stop() // waits for cleaners
	b.start()
	deadline := time.Now().Add(2 * time.Minute)
	for len(b.leftovers(job)) > 0 && time.Now().Before(deadline) { // the sweep of the new start
		runtime.Gosched()
	}
	if left := b.leftovers(job); len(left) > 0 {
		b.t.Errorf("left behind: %q", left)
	}
}

func (b *bench) leftovers(job string) (left []string) {
	list, err := dummy.New(b.state).List(b.t.Context(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range list {
		left = append(left, "container "+c.Name)
	}
	for _, dir := range []string{"volumes", "run"} {
		entries, err := os.ReadDir(filepath.Join(b.dir, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b.t.Fatal(err)
		}
		for _, e := range entries {
			left = append(left, dir+"/"+e.Name())
		}
	}
	pins, err := b.ipfs.Pins(b.t.Context(), "job/"+job+"/")
	if err != nil {
		b.t.Fatal(err)
	}
	records := b.records(job)
	for _, p := range pins {
		what := strings.TrimPrefix(p.Name, "job/"+job+"/")
		switch base := path.Base(what); {
		case what == "result", what == "partial", base == "outputs", base == "items-known", path.Dir(what) == "merged", slices.Contains(records, what):
		default:
			left = append(left, "pin "+p.Name)
		}
	}
	return left
}

// records are the pins of the records of items that a job keeps: one for each task.
func (b *bench) records(job string) (names []string) {
	by := map[int]jobspec.Attempt{}
	err := b.store.View(b.t.Context(), func(tx *store.Tx) error {
		list, err := tx.Attempts(jobspec.JobID(job))
		for _, a := range list {
			known, ok := by[a.ID.Task]
			reported := a.State == jobspec.AttemptRecorded || a.State == jobspec.AttemptCleaned
			if reported && (!ok || known.Failure != nil || a.Failure == nil) {
				by[a.ID.Task] = a
			}
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range by {
		if a.Items.Defined() {
			names = append(names, fmt.Sprintf("attempt/%d-%d-items", a.ID.Task, a.ID.Try))
		}
	}
	return names
}
