package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Datasets lists the datasets that can be named, by name.
func (c *Client) Datasets(ctx context.Context) (out wire.DatasetList, err error) {
	return out, c.exchange(ctx, request{method: http.MethodGet, path: datasetPath()}, &out)
}

// Dataset describes a dataset, or one of its versions.
func (c *Client) Dataset(ctx context.Context, ref jobspec.DatasetRef) (out wire.Dataset, err error) {
	return out, c.exchange(ctx, request{method: http.MethodGet, path: datasetPath(ref.String())}, &out)
}

// CreateDataset makes a dataset.
func (c *Client) CreateDataset(ctx context.Context, q wire.DatasetWish) (out wire.Dataset, err error) {
	return out, c.post(ctx, datasetPath(), q, &out)
}

// AppendDataset makes a new version of a dataset.
func (c *Client) AppendDataset(ctx context.Context, name string, q wire.DatasetAppend) (out wire.Dataset, err error) {
	return out, c.post(ctx, datasetPath(name, "append"), q, &out)
}

// DiffDataset compares two versions; 0 = the newest, and the one before it.
func (c *Client) DiffDataset(ctx context.Context, name string, from, to int) (out wire.DatasetDiff, err error) {
	q := url.Values{}
	for key, n := range map[string]int{"from": from, "to": to} {
		if n != 0 {
			q.Set(key, strconv.Itoa(n))
		}
	}
	return out, c.exchange(ctx, request{method: http.MethodGet, path: datasetPath(name, "diff"), query: q}, &out)
}

// RemoveDataset forgets a dataset with all its versions.
func (c *Client) RemoveDataset(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: datasetPath(name)}, nil)
}

func datasetPath(below ...string) []string { return append([]string{"v1", "datasets"}, below...) }
