package sidecar

import (
	"context"
	"errors"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// split makes the shards that the spec asks for, and pins them for the job.
// The node's limits of inputs hold for each of them when it is staged; the
// dataset has one of its own.
func (d *driver) split(ctx context.Context, spec jobspec.Spec, f *jobspec.Facts) error {
	o := split.Options{
		By: spec.Split.By, Size: int64(spec.Split.Size), Into: spec.Split.Into,
		Budget: ipfs.Budget{Entries: d.cfg.Limits.Dataset, Levels: d.cfg.Budget.Levels, DAGDepth: d.cfg.Budget.DAGDepth},
	}
	err := d.inTime(ctx, func(ctx context.Context) error { return d.makeShards(ctx, spec, o, f) })
	if errors.Is(err, jobspec.KindLimitEntries.Error()) {
		f := jobspec.AsFailure(err)
		f.Hint = "split a part of it (-c CID/path), pack small files together, or raise the node's bound: ipdc node start --dataset-entries N"
		return f.Error()
	}
	return inputLimit(err)
}

func (d *driver) makeShards(ctx context.Context, spec jobspec.Spec, o split.Options, f *jobspec.Facts) error {
	_, err := d.cfg.IPFS.Add(ctx, pinName(d.id, "shards"), func(w ipfs.Session) (jobspec.CID, error) {
		shards, err := split.Split(ctx, w, f.Input, o)
		if err != nil {
			return jobspec.CID{}, err
		}
		f.Shards, f.Bytes = make([]jobspec.Shard, len(shards)), 0
		roots := make([]jobspec.CID, len(shards))
		for i, s := range shards {
			f.Shards[i] = jobspec.Shard{CID: s.CID, Bytes: s.Bytes, Path: shardPath(spec, s)}
			if spec.Run.Per == jobspec.PerItem {
				f.Shards[i].Items = shardItems(s)
			}
			f.Bytes += s.Bytes
			roots[i] = s.CID
		}
		return merge.Shards(ctx, w, roots)
	})
	return err
}

// shardPath is what the paths of a shard's files begin with, for a program that
// asks.
func shardPath(spec jobspec.Spec, s split.Shard) string {
	if !spec.Exposes(jobspec.ExposeShard) {
		return ""
	}
	paths := make([]string, len(s.Files))
	for i, f := range s.Files {
		paths[i] = f.Path
	}
	return jobspec.CommonPath(paths)
}

func shardItems(s split.Shard) []jobspec.Item {
	items := make([]jobspec.Item, len(s.Files))
	for i, f := range s.Files {
		items[i] = jobspec.Item{Path: f.Path, CID: f.CID, Size: f.Size}
	}
	return items
}
