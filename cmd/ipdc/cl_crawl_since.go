package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/crawl"
)

// packSlices makes the input of a crawl: a folder for each slice, with what it
// is to do and, by links, what the crawl before left of its hosts.
func (a *app) packSlices(ctx context.Context, s ipfs.Session, parts []crawl.Slice, since string) (root jobspec.CID, err error) {
	err = a.withClient(func(c *client.Client) error {
		var files []merge.File
		for _, p := range parts {
			b, err := p.JSON()
			if err != nil {
				return err
			}
			id, n, err := pack.File(ctx, s, bytes.NewReader(b))
			if err != nil {
				return err
			}
			files = append(files, merge.File{Path: p.Name + "/slice.json", CID: id, Size: n})
		}
		if since != "" {
			before, err := a.crawlBefore(ctx, c, since)
			if err != nil {
				return fmt.Errorf("--since %s: %w", since, err)
			}
			old, err := pagesOf(ctx, c, before, parts)
			if err != nil {
				return fmt.Errorf("--since %s: %w", since, err)
			}
			files = append(files, old...)
		}
		root, err = merge.Files(ctx, linking{s, c}, files)
		return err
	})
	return root, err
}

// crawlBefore finds the result that --since names.
func (a *app) crawlBefore(ctx context.Context, c *client.Client, since string) (jobspec.CID, error) {
	if since == "@last" {
		jobs, err := c.Jobs(ctx, client.JobFilter{
			States: []jobspec.JobState{jobspec.JobSucceeded}, Labels: map[string]string{crawl.Label: crawl.LabelValue}, Limit: 1,
		})
		if err != nil {
			return jobspec.CID{}, err
		}
		if len(jobs) == 0 {
			return jobspec.CID{}, jobspec.Failure{
				Kind: jobspec.KindNotFound, Detail: "no crawl has succeeded yet", Hint: "leave --since out for the first one",
			}.Error()
		}
		return jobs[0].Result, nil
	}
	if _, err := jobspec.ParsePath(since); err == nil {
		return c.Resolve(ctx, since)
	}
	job, err := c.Job(ctx, since)
	if err == nil && !job.Result.Defined() {
		return job.Result, jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: fmt.Sprintf("the job is %s and has no result", job.State), Hint: "name a crawl that succeeded",
		}.Error()
	}
	return job.Result, err
}

// pagesOf returns what a crawl has of the hosts of slices, where the spider
// looks for it.
func pagesOf(ctx context.Context, c *client.Client, before jobspec.CID, parts []crawl.Slice) (files []merge.File, err error) {
	top, err := c.List(ctx, before.String())
	if err != nil {
		return nil, err
	}
	folders := map[string]wire.Entry{}
	for _, e := range top.Entries {
		if e.Dir {
			folders[e.Name] = e
		}
	}
	indexed := 0
	for _, p := range parts {
		for _, host := range p.Hosts {
			e, ok := folders[crawl.Folder(host)]
			if !ok {
				continue
			}
			list, err := c.List(ctx, e.CID.String())
			if err != nil {
				return nil, err
			}
			for _, f := range list.Entries {
				if f.Name == "index.jsonl" {
					indexed++
				}
				files = append(files, merge.File{Path: p.Name + "/since/" + e.Name + "/" + f.Name, CID: f.CID, Size: f.Size})
			}
		}
	}
	if indexed == 0 {
		return nil, jobspec.Failure{
			Kind: jobspec.KindSpec, Detail: fmt.Sprintf("%s holds no pages of these hosts", before), Hint: "give the result of a crawl of the same sites, or leave --since out",
		}.Error()
	}
	return files, nil
}

// linking is a session that writes nodes over what a node holds already.
type linking struct {
	ipfs.Session
	node *client.Client
}

// Get reads a block that was put, else the root block that the node has.
func (l linking) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if b, err := l.Session.Get(ctx, c); err == nil {
		return b, nil
	}
	ctx, cancel := context.WithCancel(ctx) // the rest is not needed
	defer cancel()
	body, err := l.node.Download(ctx, c, client.FormatCAR)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return car.NewSource(body).Get(ctx, c)
}
