package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/crawl"
)

// crawlFlags are the flags of cl crawl as they were typed.
type crawlFlags struct {
	submitFlags
	opts    crawl.Options
	maxPage string
	since   string
}

func (a *app) clCrawlCmd() *cobra.Command {
	f := &crawlFlags{}
	cmd := &cobra.Command{
		Use:   "crawl SEEDS --depth D --per-host RPS --network HOST:PORT,...",
		Short: "Crawl sites politely, and print the CID of their pages",
		Long: `Crawl fetches the pages at SEEDS, and those they lead to, and waits for the
result: a directory with a folder for each host, which holds WARC files and
index.jsonl, a line for each URL. SEEDS has one URL a line: it is a file, - for
standard input, or the CID (CID/path) of a file.

robots.txt is obeyed. A host is asked one thing at a time, --per-host times a
second at most, in the whole job, and less often where its robots.txt asks for
that (Crawl-delay). Nothing is reached but the hosts and ports of --network:
links and redirects elsewhere are listed in elsewhere.txt, not followed.

With --since what an earlier crawl fetched is asked for only if it changed, and
what did not change is not stored again: a site that is as it was gives the same
CID. The stock image is built once: ipdc image build crawler. See docs/crawler.md.`,
		Example: `  ipdc cl crawl seeds.txt --depth 2 --per-host 1 --network example.org:443 --out pages
  echo https://example.org/ | ipdc cl crawl - --depth 3 --network example.org:443 --since @last`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.clCrawl(cmd.Context(), f, args[0]) },
	}
	fs := cmd.Flags()
	fs.IntVar(&f.opts.Depth, "depth", 1, "how many links from a seed pages may be, 0 to 1000; 0 is the seeds alone")
	fs.Float64Var(&f.opts.Rate, "per-host", 1, "requests a second to one host, 0.01 to 1000")
	fs.StringSliceVar(&f.network, "network", nil, "HOST:PORT that may be crawled (repeatable, at most 32)")
	fs.IntVarP(&f.opts.Slices, "slices", "k", 1, "slices, which run independent of each other; all hosts of a site are in one, and links from one slice to another are not followed")
	fs.StringVar(&f.since, "since", "", "the crawl before: a CID, a job, or @last for the last crawl that succeeded")
	fs.IntVar(&f.opts.Pages, "max-pages", crawl.DefaultPages, "pages of a slice, 1 to 100000")
	fs.StringVar(&f.maxPage, "max-page", "", "size of the largest page (default 10MiB)")
	fs.StringVar(&f.opts.Agent, "user-agent", crawl.DefaultAgent, "who asks, to sites and their robots.txt; say where you can be reached")
	fs.StringVar(&f.name, "name", "", "name of the job")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "label of the job, KEY=VALUE (repeatable)")
	fs.StringVar(&f.memory, "memory", "", "memory of one slice (default 1GiB)")
	fs.StringVar(&f.disk, "disk", "", "size of one slice's /outputs, of which new pages may take half (default 2GiB)")
	fs.StringVar(&f.timeout, "timeout", "", "time of one slice; a crawl ends early when nine tenths of it are over (default 1h)")
	fs.StringVar(&f.total, "total-timeout", "", "time of the whole job, waiting included (default 4h)")
	fs.StringVar(&f.keep, "keep", "", "remove the job and its result so long after its end, such as 30d (default: keep it)")
	f.addPlace(fs)
	f.addSend(fs)
	return cmd
}

func (a *app) clCrawl(ctx context.Context, f *crawlFlags, arg string) error {
	if !f.dryRun {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
	}
	seeds, err := a.readSeeds(ctx, arg)
	if err != nil {
		return err
	}
	req, err := a.crawlRequest(f, seeds)
	if err != nil {
		return err
	}
	return a.sendJob(ctx, &f.submitFlags, req)
}

// crawlRequest is what is submitted for seeds.
func (a *app) crawlRequest(f *crawlFlags, seeds []crawl.Seed) (req request, err error) {
	if err := req.apply(&f.submitFlags); err != nil {
		return req, err
	}
	o := f.opts
	o.Network, o.Resources, o.Timeouts = req.spec.Network, req.spec.Resources, req.spec.Timeouts
	if err := setting("max-page", f.maxPage, &o.PageSize); err != nil {
		return req, err
	}
	parts, err := crawl.Slices(seeds, o)
	if err != nil {
		return req, err
	}
	req = request{spec: crawl.Spec(o)}
	if req.files, err = crawl.Code(); err != nil {
		return req, err
	}
	req.input = func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
		return a.packSlices(ctx, s, parts, f.since)
	}
	if err := req.apply(&f.submitFlags); err != nil {
		return req, err
	}
	if err := req.setPlace(&f.submitFlags); err != nil {
		return req, err
	}
	a.say("%s, %s", count(int64(len(seeds)), "seed"), count(int64(len(parts)), "slice"))
	return req, req.validate()
}

// readSeeds reads a list of URLs: standard input, a local file, or a file
// behind a CID.
func (a *app) readSeeds(ctx context.Context, arg string) (seeds []crawl.Seed, err error) {
	if arg == "-" {
		return crawl.ReadSeeds(a.in)
	}
	if _, perr := jobspec.ParsePath(arg); perr == nil {
		err = a.withClient(func(c *client.Client) error {
			root, err := c.Resolve(ctx, arg)
			if err != nil {
				return err
			}
			body, err := c.Download(ctx, root, client.FormatRaw)
			if err != nil {
				return fmt.Errorf("seeds %s: %w", arg, err)
			}
			defer body.Close()
			seeds, err = crawl.ReadSeeds(io.LimitReader(body, maxSeeds))
			return err
		})
		return seeds, err
	}
	file, err := os.Open(arg)
	if err != nil {
		if strings.Contains(arg, "://") {
			return nil, usagef("SEEDS is a list of URLs, not a URL; for one: echo %s | ipdc cl crawl -", visible(arg))
		}
		return nil, usagef("SEEDS %q is neither -, nor a CID, nor a file that can be read here: %w", arg, err)
	}
	defer file.Close()
	return crawl.ReadSeeds(file)
}

// maxSeeds is the size of a list of seeds in bytes: the most lines of the
// longest URLs.
const maxSeeds = crawl.MaxSeeds * (crawl.MaxURL + 2)

// sumCrawl says what a crawl found.
func (a *app) sumCrawl(j wire.Job) {
	if j.Spec.Labels[crawl.Label] != crawl.LabelValue {
		return
	}
	sum := map[string]int64{}
	for _, at := range j.Attempts {
		for name, n := range at.Counters {
			sum[name] += n
		}
	}
	a.say("%s new, %d unchanged; %d that robots.txt disallows, %d failed (ipdc job logs %s)", count(sum["crawl.new"], "page"),
		sum["crawl.unchanged"], sum["crawl.disallowed"], sum["crawl.failed"], j.ID)
}
