package sidecar

import (
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// What a task has done is written now and then, and all of it with its last word,
// also when that says no more than what came too soon to be written.
func TestTallyIsWritten(t *testing.T) {
	began := time.Unix(1000, 0)
	done := newTally(jobspec.Job{}, jobspec.Plan{}, nil)
	for i, c := range []struct {
		after   time.Duration
		task, n int
		last    bool
		sum     int
		due     bool
	}{
		{0, 0, 1, false, 1, true},
		{progressEvery / 2, 0, 2, false, 2, false},
		{progressEvery / 2, 0, 2, true, 2, true}, // its last word
		{progressEvery / 2, 0, 2, true, 2, false},
		{progressEvery, 1, 3, false, 5, false},
		{2 * progressEvery, 1, 3, false, 5, true},
		{4 * progressEvery, 1, 3, false, 5, false},
	} {
		if sum, due := done.count(c.task, c.n, c.last, began.Add(c.after)); sum != c.sum || due != c.due {
			t.Errorf("%d: task %d with %d: %d, written %v; want %d, %v", i, c.task, c.n, sum, due, c.sum, c.due)
		}
	}
}
