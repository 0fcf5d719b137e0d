package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// AddSchedule has the node run a job at instants. It is on the node's disk when
// AddSchedule returns. The same again gives the first one; another one of the
// same name is refused with E_CONFLICT.
func (c *Client) AddSchedule(ctx context.Context, r wire.ScheduleRequest) (wire.Schedule, error) {
	var s wire.Schedule
	err := c.post(ctx, []string{"v1", "schedules"}, r, &s)
	return s, err
}

// Schedules lists the schedules by name.
func (c *Client) Schedules(ctx context.Context) ([]wire.Schedule, error) {
	var l wire.ScheduleList
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "schedules"}}, &l)
	return l.Schedules, err
}

// Schedule shows one. This and the calls below take a name, an id or a unique
// prefix of one.
func (c *Client) Schedule(ctx context.Context, ref string) (wire.Schedule, error) {
	var s wire.Schedule
	err := c.call(ctx, request{method: http.MethodGet, path: []string{"v1", "schedules", ref}}, &s)
	return s, err
}

// PauseSchedule lets the instants of a schedule be missed.
func (c *Client) PauseSchedule(ctx context.Context, ref string) (wire.Schedule, error) {
	return c.onSchedule(ctx, ref, "pause")
}

// ResumeSchedule lets one go on that was paused.
func (c *Client) ResumeSchedule(ctx context.Context, ref string) (wire.Schedule, error) {
	return c.onSchedule(ctx, ref, "resume")
}

func (c *Client) onSchedule(ctx context.Context, ref, what string) (wire.Schedule, error) {
	var s wire.Schedule
	err := c.call(ctx, request{method: http.MethodPost, path: []string{"v1", "schedules", ref, what}}, &s)
	return s, err
}

// RunSchedule runs a schedule's job now. Its id is that of the instant.
func (c *Client) RunSchedule(ctx context.Context, ref string) (jobspec.Instant, error) {
	var i jobspec.Instant
	err := c.call(ctx, request{method: http.MethodPost, path: []string{"v1", "schedules", ref, "run"}}, &i)
	return i, err
}

// RemoveSchedule removes one with its history. Its jobs stay.
func (c *Client) RemoveSchedule(ctx context.Context, ref string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: []string{"v1", "schedules", ref}}, nil)
}

// NextInstants lists the next n instants, at most 1,000.
func (c *Client) NextInstants(ctx context.Context, ref string, n int) (wire.NextInstants, error) {
	var next wire.NextInstants
	err := c.call(ctx, request{
		method: http.MethodGet, path: []string{"v1", "schedules", ref, "next"}, query: url.Values{"n": {strconv.Itoa(n)}},
	}, &next)
	return next, err
}

// History lists what became of a schedule's instants, the newest first: at most
// limit of them, 1,000 at once, without the skip newest.
func (c *Client) History(ctx context.Context, ref string, limit, skip int) ([]jobspec.Instant, error) {
	var h wire.History
	err := c.call(ctx, request{
		method: http.MethodGet, path: []string{"v1", "schedules", ref, "history"},
		query: url.Values{"limit": {strconv.Itoa(limit)}, "skip": {strconv.Itoa(skip)}},
	}, &h)
	return h.Instants, err
}
