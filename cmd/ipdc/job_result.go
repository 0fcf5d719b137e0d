package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// finish prints a job's result, or why it has none.
func (a *app) finish(ctx context.Context, c *client.Client, j wire.Job) error {
	if j.State == jobspec.JobSucceeded {
		a.warnItems(j)
		a.sumCrawl(j)
		return a.print(j, j.Result.String(), func(w io.Writer) error {
			_, err := fmt.Fprintln(w, j.Result)
			return err
		})
	}
	f := jobspec.Failure{Kind: jobspec.KindInternal, Detail: "the job is " + string(j.State)}
	if j.Failure != nil {
		f = *j.Failure
	}
	if f.Kind != jobspec.KindStopped {
		a.lastLines(ctx, c, j)
	}
	a.say("ipdc: job %s %s: %s", j.ID, j.State, describeFailure(f))
	if j.Partial.Defined() {
		a.say("partial outputs: %s", j.Partial)
	}
	if a.format == formatJSON || a.format == formatYAML {
		if err := a.print(j, "", nil); err != nil {
			return err
		}
	}
	return jobError{f}
}

// warnItems names the files that failed in a job that kept going.
func (a *app) warnItems(j wire.Job) {
	failed, total := countFailed(j)
	if failed == 0 {
		return
	}
	shown := 0
	for _, at := range j.Attempts {
		for _, e := range at.ItemErrors {
			if shown++; shown <= 10 {
				a.say("failed: %s: %s", visible(e.Path), visible(e.Detail))
			}
		}
	}
	what, command := "files", "job"
	if isCL(j) {
		what, command = "lines", "cl"
	}
	a.say("%d of %d %s failed; ipdc %s items %s --failed", failed, total, what, command, j.ID)
}

// tailLines is how much of a failed job's log is shown.
const tailLines = 20

// lastLines shows the end of a failed job's log.
func (a *app) lastLines(ctx context.Context, c *client.Client, j wire.Job) {
	var tail tailBuffer
	if err := c.Logs(ctx, j.ID.String(), false, &tail, &tail); err != nil || len(tail.b) == 0 {
		return
	}
	lines := strings.Split(strings.TrimRight(string(tail.b), "\n"), "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
		a.say("the last %d lines of its log:", tailLines)
	}
	for _, l := range lines {
		a.say("  %s", visible(l))
	}
}

// tailBuffer keeps the last 64 KiB that are written to it.
type tailBuffer struct{ b []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	const keep = 64 << 10
	t.b = append(t.b, p...)
	if len(t.b) > 2*keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(p), nil
}
