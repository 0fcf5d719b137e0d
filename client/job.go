package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Submit hands a job to the node. It is on the node's disk when Submit
// returns. With an idempotency key, at most 128 printable ASCII characters,
// the same spec under the same key gives the first job again, and another spec
// is refused with E_DUP_KEY. All problems of a spec come at once in
// [Error.Problem].
func (c *Client) Submit(ctx context.Context, spec jobspec.Spec, key string) (wire.Job, error) {
	return c.SubmitTo(ctx, "", spec, key)
}

// SubmitTo is Submit of a job that another member of the domain is to take:
// to is its id, a unique beginning or end of it, its label name, or "any"; ""
// is the node itself. What the job names must be stored in the domain.
func (c *Client) SubmitTo(ctx context.Context, to string, spec jobspec.Spec, key string) (wire.Job, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return wire.Job{}, fmt.Errorf("encode spec: %w", err)
	}
	r := request{
		method: http.MethodPost, path: []string{"v1", "jobs"}, body: bytes.NewReader(b),
		header: http.Header{"Content-Type": {"application/json"}},
	}
	if to != "" {
		r.query = url.Values{"to": {to}}
	}
	if key != "" {
		r.header.Set("Idempotency-Key", key)
	}
	var j wire.Job
	err = c.call(ctx, r, &j)
	return j, err
}

// Plan says what Submit of spec would do now, and does none of it. It takes as
// long as it takes to read the input: only ctx bounds it.
func (c *Client) Plan(ctx context.Context, spec jobspec.Spec) (wire.Plan, error) {
	var p wire.Plan
	err := c.post(ctx, []string{"v1", "jobs", "plan"}, spec, &p)
	return p, err
}

// Job returns a job with its attempts. As everywhere, ref is a job id, a
// unique prefix of one, a job's name, or @last.
func (c *Client) Job(ctx context.Context, ref string) (wire.Job, error) {
	var j wire.Job
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs", ref}}, &j)
	return j, err
}

// JobFilter selects jobs. Zero values select all.
type JobFilter struct {
	States []jobspec.JobState
	Labels map[string]string // all must be equal
	// Dataset leaves those that are over it, with a version over that one.
	Dataset jobspec.DatasetRef
	All     bool // also those that a job needs, such as installations
	Limit   int  // default 100, at most 500
}

// Jobs lists jobs, newest first, without their attempts.
func (c *Client) Jobs(ctx context.Context, f JobFilter) ([]wire.Job, error) {
	q := url.Values{}
	for _, s := range f.States {
		q.Add("state", string(s))
	}
	for k, v := range f.Labels {
		q.Add("label", k+"="+v)
	}
	if f.Dataset.Name != "" {
		q.Set("dataset", f.Dataset.String())
	}
	if f.All {
		q.Set("all", "true")
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var l wire.JobList
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs"}, query: q}, &l)
	return l.Jobs, err
}

// Stop asks a job to end. The wish is durable when Stop returns; Wait tells
// when the job has stopped. A job that is final is returned as it is.
func (c *Client) Stop(ctx context.Context, ref string) (wire.Job, error) {
	var j wire.Job
	err := c.call(ctx, request{method: http.MethodPost, path: []string{"v1", "jobs", ref, "stop"}}, &j)
	return j, err
}

// Remove deletes a final job's record, logs and pins. A job that is not final
// is E_CONFLICT.
func (c *Client) Remove(ctx context.Context, ref string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "jobs", ref}}, nil)
}

// Forget is [Client.Remove], which also removes a job that another member has and
// that cannot be reached: what that member does of it, its result and its logs are
// given up.
func (c *Client) Forget(ctx context.Context, ref string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "jobs", ref}, query: url.Values{"force": {"true"}}}, nil)
}

// Merge merges the outputs of a job that has ended in some way, without a run.
// It takes as long as it takes: only ctx bounds it.
func (c *Client) Merge(ctx context.Context, ref string, how jobspec.Merge) (wire.Merging, error) {
	var m wire.Merging
	err := c.post(ctx, []string{"v1", "jobs", ref, "merge"}, wire.MergeWish{Merge: how}, &m)
	return m, err
}

// Publish has the result of a job sent to outlets as [jobspec.ParsePublish]
// reads them, or, without any, has what failed tried again. It does not wait;
// the deliveries say how far each is.
func (c *Client) Publish(ctx context.Context, ref string, to ...string) (wire.Deliveries, error) {
	var d wire.Deliveries
	err := c.post(ctx, []string{"v1", "jobs", ref, "publish"}, wire.PublishWish{To: to}, &d)
	return d, err
}

// Wait returns the job once it is final. How it ended is in its state and
// failure. When ctx ends first, the error is of ctx and the job goes on.
func (c *Client) Wait(ctx context.Context, ref string) (wire.Job, error) {
	j, err := c.Job(ctx, ref)
	for err == nil && !j.State.Final() {
		// By id from here on: @last may name another job by now.
		if err = c.Events(ctx, j.ID.String(), 0, true, func(jobspec.Event) error { return nil }); err == nil {
			j, err = c.Job(ctx, j.ID.String())
		}
	}
	return j, err
}
