package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipdc/ipdc/wire"
)

// ItemFilter selects items of a job. The zero value selects all.
type ItemFilter struct {
	Failed bool   // only those that failed, or were not run as their task ended before
	After  string // only those behind this [wire.Item.At]
	Limit  int    // at most so many; 0 = all
}

// Items calls yield for each item of a job, in an order that stays the same:
// those that were remembered, then task by task. An error of yield ends it and
// is returned. A stream that was cut is an error: go on behind the last item.
func (c *Client) Items(ctx context.Context, ref string, f ItemFilter, yield func(wire.Item) error) error {
	q := url.Values{}
	if f.Failed {
		q.Set("failed", "true")
	}
	if f.After != "" {
		q.Set("after", f.After)
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	resp, err := c.send(ctx, request{method: http.MethodGet, path: []string{"v1", "jobs", ref, "items"}, query: q})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for {
		var it wire.Item
		if err := dec.Decode(&it); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read items of job %s: %w", ref, err)
		}
		if err := yield(it); err != nil {
			return err
		}
	}
}
