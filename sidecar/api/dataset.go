package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Datasets are named versions of directories. Names are those of one tenant; the
// node's own user sees those of the members of its domain besides. Errors carry a
// jobspec kind.
type Datasets interface {
	Create(ctx context.Context, tenant string, q wire.DatasetWish) (wire.Dataset, error)
	// Append makes a new version, which is durable when it returns.
	Append(ctx context.Context, tenant, name string, q wire.DatasetAppend) (wire.Dataset, error)
	List(ctx context.Context, tenant string) ([]wire.Dataset, error)
	Show(ctx context.Context, tenant string, ref jobspec.DatasetRef) (wire.Dataset, error)
	// Diff compares two versions; 0 = the newest, and the one before it.
	Diff(ctx context.Context, tenant, name string, from, to int) (wire.DatasetDiff, error)
	Remove(ctx context.Context, tenant, name string) error
	// Content is the directory of a version.
	Content(ctx context.Context, tenant string, ref jobspec.DatasetRef) (jobspec.CID, error)
}

// maxAppend bounds the body of an append in bytes.
const maxAppend = 64 << 20

type (
	datasetInput struct {
		Name string `path:"name" example:"logs" doc:"NAME, or NAME@VERSION where a version is shown"`
	}
	datasetDiffInput struct {
		Name string `path:"name" example:"logs"`
		From string `query:"from" doc:"A version; default the one before the other"`
		To   string `query:"to" doc:"A version; default the newest"`
	}
	datasetAppendInput struct {
		Name    string `path:"name" example:"logs"`
		Type    string `header:"Content-Type" hidden:"true"`
		RawBody []byte `contentType:"application/json"`
	}
)

func (a *API) registerDatasets(h huma.API) {
	register(a, h, huma.Operation{
		OperationID: "datasets", Method: http.MethodGet, Path: "/v1/datasets", Summary: "List datasets, those of members too",
	}, func(ctx context.Context, _ *struct{}) (*answer[wire.DatasetList], error) {
		d, err := a.datasets()
		if err != nil {
			return nil, err
		}
		list, err := d.List(ctx, tenantOf(ctx))
		return &answer[wire.DatasetList]{wire.DatasetList{Datasets: list}}, err
	})
	register(a, h, takesJSON(a, h, wire.DatasetWish{Name: "logs"}, huma.Operation{
		OperationID: "create-dataset", Method: http.MethodPost, Path: "/v1/datasets", Summary: "Make a dataset with its first version",
	}), func(ctx context.Context, in *jsonInput) (*answer[wire.Dataset], error) {
		q, err := decode[wire.DatasetWish](in)
		if err != nil {
			return nil, err
		}
		d, err := a.datasets()
		if err != nil {
			return nil, err
		}
		out, err := d.Create(ctx, tenantOf(ctx), q)
		return &answer[wire.Dataset]{out}, err
	})
	register(a, h, huma.Operation{
		OperationID: "dataset", Method: http.MethodGet, Path: "/v1/datasets/{name}", Summary: "Show a dataset and its versions",
	}, a.dataset)
	grow := takesJSON(a, h, wire.DatasetAppend{Entries: []wire.DatasetEntry{{Name: "day1.csv", Path: exampleCID + "/day1.csv"}}}, huma.Operation{
		OperationID: "append-dataset", Method: http.MethodPost, Path: "/v1/datasets/{name}/append", Summary: "Add, replace and remove entries, which makes a new version",
		Description: "The version is on disk when this returns. Nothing that is new makes no version.",
	})
	grow.MaxBodyBytes = maxAppend
	register(a, h, grow, a.appendDataset)
	register(a, h, huma.Operation{
		OperationID: "diff-dataset", Method: http.MethodGet, Path: "/v1/datasets/{name}/diff", Summary: "Compare two versions",
	}, a.diffDataset)
	register(a, h, huma.Operation{
		OperationID: "remove-dataset", Method: http.MethodDelete, Path: "/v1/datasets/{name}", Summary: "Forget a dataset with all its versions",
	}, func(ctx context.Context, in *datasetInput) (*nothing, error) {
		d, err := a.datasets()
		if err == nil {
			err = jobspec.CheckDatasetName(in.Name)
		}
		if err == nil {
			err = d.Remove(ctx, tenantOf(ctx), in.Name)
		}
		return nil, err
	})
}

// datasets returns those of the node, or why it has none.
func (a *API) datasets() (Datasets, error) {
	if a.cfg.Datasets == nil {
		return nil, jobspec.KindPolicy.Errorf("this node keeps no datasets")
	}
	return a.cfg.Datasets, nil
}

func (a *API) dataset(ctx context.Context, in *datasetInput) (*answer[wire.Dataset], error) {
	ref, err := jobspec.ParseDatasetRef(in.Name)
	if err != nil {
		return nil, err
	}
	d, err := a.datasets()
	if err != nil {
		return nil, err
	}
	out, err := d.Show(ctx, tenantOf(ctx), ref)
	return &answer[wire.Dataset]{out}, err
}

func (a *API) appendDataset(ctx context.Context, in *datasetAppendInput) (*answer[wire.Dataset], error) {
	if err := jobspec.CheckDatasetName(in.Name); err != nil {
		return nil, err
	}
	q, err := decode[wire.DatasetAppend](&jsonInput{in.Type, in.RawBody})
	if err != nil {
		return nil, err
	}
	d, err := a.datasets()
	if err != nil {
		return nil, err
	}
	out, err := d.Append(ctx, tenantOf(ctx), in.Name, q)
	return &answer[wire.Dataset]{out}, err
}

func (a *API) diffDataset(ctx context.Context, in *datasetDiffInput) (*answer[wire.DatasetDiff], error) {
	if err := jobspec.CheckDatasetName(in.Name); err != nil {
		return nil, err
	}
	var of [2]int
	for i, q := range []struct{ name, value string }{{"from", in.From}, {"to", in.To}} {
		if q.value == "" {
			continue
		}
		n, err := strconv.ParseInt(q.value, 10, 31)
		if err != nil || n < 1 {
			return nil, badQuery(q.name, "a version from 1")
		}
		of[i] = int(n)
	}
	d, err := a.datasets()
	if err != nil {
		return nil, err
	}
	out, err := d.Diff(ctx, tenantOf(ctx), in.Name, of[0], of[1])
	return &answer[wire.DatasetDiff]{out}, err
}

// resolve returns what a path names: below a CID, or below a dataset of the
// caller's.
func (a *API) resolve(ctx context.Context, path string) (jobspec.CID, error) {
	p, err := jobspec.ParsePath(path)
	if err == nil {
		return tree.Resolve(ctx, a.cfg.IPFS, p.Root, p.Segments)
	}
	first, tail, _ := strings.Cut(path, "/")
	ref, rerr := jobspec.ParseDatasetRef(first)
	if rerr != nil || a.cfg.Datasets == nil {
		return jobspec.CID{}, err
	}
	root, rerr := a.cfg.Datasets.Content(ctx, tenantOf(ctx), ref)
	if errors.Is(rerr, jobspec.KindNotFound.Error()) && ref.Version == 0 && !strings.Contains(path, "dataset:") {
		f := jobspec.AsFailure(rerr)
		f.Detail = "\"" + path + "\" is neither a CID nor a dataset: " + f.Detail
		return root, f.Error()
	}
	if rerr != nil || tail == "" {
		return root, rerr
	}
	if p, err = jobspec.ParsePath(root.String() + "/" + tail); err != nil {
		return root, err
	}
	return tree.Resolve(ctx, a.cfg.IPFS, p.Root, p.Segments)
}
