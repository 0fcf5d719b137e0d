package sidecar

import (
	"context"
	"errors"
	"math"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// split makes the shards that the spec asks for, and pins them for the job.
// The node's limits of inputs hold for each of them when it is staged; the
// dataset has one of its own.
func (d *driver) split(ctx context.Context, st stage, f *jobspec.Facts) error {
	sp := st.Spec.Split
	if len(st.Spec.Inputs) > 0 && st.Spec.Inputs[0].As == jobspec.AsCAR {
		return d.sectors(ctx, f)
	}
	o := split.Options{
		By: sp.By, Size: int64(sp.Size), Into: sp.Into, Record: int64(sp.Record), Sample: sp.Sample,
		Budget: ipfs.Budget{Entries: d.cfg.Limits.Dataset, Levels: d.cfg.Budget.Levels, DAGDepth: d.cfg.Budget.DAGDepth},
	}
	err := d.inTime(ctx, func(ctx context.Context) error {
		return d.keepShards(ctx, st, f, func(w ipfs.Session) ([]jobspec.Shard, error) {
			shards, err := split.Split(ctx, w, f.Input, o)
			out := make([]jobspec.Shard, len(shards))
			for i, s := range shards {
				out[i] = jobspec.Shard{CID: s.CID, Bytes: s.Bytes, Path: shardPath(st.Spec, s)}
				if st.Spec.Run.Per == jobspec.PerItem {
					out[i].Items = shardItems(s)
				}
				if err == nil {
					out[i].CID, err = st.layOut(ctx, w, s.CID, offsetsOf(s))
				}
			}
			return out, err
		})
	})
	if errors.Is(err, jobspec.KindLimitEntries.Error()) {
		f := jobspec.AsFailure(err)
		f.Hint = "split a part of it (-c CID/path), pack small files together, or raise the node's bound: ipdc node start --dataset-entries N"
		return f.Error()
	}
	return inputLimit(err)
}

// sectors makes a shard of each sector's DAG, which is pinned with the input.
func (d *driver) sectors(ctx context.Context, f *jobspec.Facts) error {
	b := ipfs.Budget{Entries: d.cfg.Limits.Dataset, Levels: d.cfg.Budget.Levels}
	return d.inTime(ctx, func(ctx context.Context) error {
		list, err := split.Sectors(ctx, d.cfg.IPFS, f.Input, b)
		f.Shards, f.Bytes = nil, 0
		for _, s := range list {
			f.Shards = append(f.Shards, jobspec.Shard{CID: s.CID, Bytes: s.Bytes, Path: s.Path})
			f.Bytes += min(s.Bytes, math.MaxInt64-f.Bytes)
		}
		return err
	})
}

// keepShards pins the shards that cut makes, and notes them. Of a dataset whose
// content other members hold it keeps their nodes only.
func (d *driver) keepShards(ctx context.Context, st stage, f *jobspec.Facts, cut func(ipfs.Session) ([]jobspec.Shard, error)) error {
	fill := func(w ipfs.Session) ([]jobspec.CID, error) {
		shards, err := cut(w)
		roots := make([]jobspec.CID, len(shards))
		f.Shards, f.Bytes = shards, 0
		for i, s := range shards {
			roots[i] = s.CID
			f.Bytes += s.Bytes
		}
		return roots, err
	}
	keep := func(w ipfs.Session) (jobspec.CID, error) {
		roots, err := fill(w)
		if err != nil {
			return jobspec.CID{}, err
		}
		return merge.Shards(ctx, w, roots)
	}
	if d.distant && !st.near() {
		drafts := merge.NewDrafts(d.cfg.IPFS)
		if _, err := fill(drafts); err != nil {
			return err
		}
		keep = func(w ipfs.Session) (jobspec.CID, error) { return drafts.Keep(ctx, w) }
	}
	_, err := d.cfg.IPFS.Add(ctx, st.pin("shards"), keep)
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
