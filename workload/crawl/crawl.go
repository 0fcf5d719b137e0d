// Package crawl turns a list of URLs into a job that crawls their sites: for
// each slice a task with the seeds of some hosts, which all lie in that slice.
//
//	seeds, err := crawl.ReadSeeds(file)
//	slices, err := crawl.Slices(seeds, crawl.Options{Depth: 2, Rate: 1, Network: []string{"example.org:443"}})
//	spec := crawl.Spec(options)
//	// store each slice as Name/slice.json, what an earlier crawl left of its
//	// hosts as Name/since/FOLDER, and Code() as Run.Code
//
// Invariants: a host is in exactly one slice, so that what holds for a host
// within a task holds in the whole job; seeds and options alone say which.
// docs/crawler.md says what a crawl promises, spider/store.py what it leaves.
package crawl

import (
	"embed"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/ipdc/ipdc/jobspec"
)

//go:embed spider/*.py
var spider embed.FS

// Image is the stock image that crawls run in.
const Image = "crawler"

// Label marks the jobs of this package, as LabelValue.
const (
	Label      = "ipdc.workload"
	LabelValue = "crawl"
)

// Ranges of options.
const (
	MaxDepth    = 1000
	MinRate     = 0.01
	MaxRate     = 1000
	MaxPages    = 100_000
	MinPageSize = jobspec.KiB
	MaxPageSize = 64 * jobspec.MiB
)

// The defaults of options.
const (
	DefaultPages    = 10_000
	DefaultPageSize = 10 * jobspec.MiB
	DefaultAgent    = "ipdc-crawler"
	DefaultMemory   = jobspec.GiB
	DefaultDisk     = 2 * jobspec.GiB
	defaultRun      = jobspec.Duration(3600e9)
	defaultTotal    = 4 * defaultRun
)

// Options say how far a crawl goes, and how fast.
type Options struct {
	Depth     int           // links from a seed, 0 to MaxDepth
	Rate      float64       // requests per second to one host, MinRate to MaxRate
	Network   []string      // host:port pairs that may be crawled
	Slices    int           // K; 0 = 1, at most one for each site
	Pages     int           // of a slice, at most MaxPages; 0 = DefaultPages
	PageSize  jobspec.Bytes // of the largest page; 0 = DefaultPageSize
	Agent     string        // user agent; "" = DefaultAgent
	Resources jobspec.Resources
	Timeouts  jobspec.Timeouts
}

// WithDefaults returns o with what has a default filled in.
func (o Options) WithDefaults() Options {
	fill(&o.Slices, 1)
	fill(&o.Pages, DefaultPages)
	fill(&o.PageSize, DefaultPageSize)
	fill(&o.Agent, DefaultAgent)
	fill(&o.Resources.Memory, DefaultMemory)
	fill(&o.Resources.Disk, DefaultDisk)
	fill(&o.Timeouts.Run, defaultRun)
	if o.Timeouts.Total == 0 {
		o.Timeouts.Total = max(defaultTotal, min(2*o.Timeouts.Run, jobspec.MaxTimeout))
	}
	return o
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// check refuses options that are out of their range, with kind E_SPEC.
func (o Options) check() error {
	between := func(flag string, bad bool, value, low, high any) error {
		if !bad {
			return nil
		}
		return refuse(flag, fmt.Sprintf("is %v, want %v to %v", value, low, high), "")
	}
	for _, err := range []error{
		between("--depth", o.Depth < 0 || o.Depth > MaxDepth, o.Depth, 0, MaxDepth),
		between("--per-host", math.IsNaN(o.Rate) || o.Rate < MinRate || o.Rate > MaxRate, o.Rate, MinRate, MaxRate),
		between("-k", o.Slices < 1 || o.Slices > jobspec.MaxNetwork, o.Slices, 1, jobspec.MaxNetwork),
		between("--max-pages", o.Pages < 1 || o.Pages > MaxPages, o.Pages, 1, MaxPages),
		between("--max-page", o.PageSize < MinPageSize || o.PageSize > MaxPageSize, o.PageSize, MinPageSize, MaxPageSize),
	} {
		if err != nil {
			return err
		}
	}
	if !slices.ContainsFunc([]byte(o.Agent), func(b byte) bool { return b > ' ' }) || slices.ContainsFunc([]byte(o.Agent), func(b byte) bool { return b < ' ' || b > '~' }) {
		return refuse("--user-agent", "is not a line of printable ASCII", "write a name and where you can be reached, such as 'mybot (+https://example.org/bot)'")
	}
	return nil
}

// Spec returns the spec of a crawl, without its code and input.
func Spec(o Options) jobspec.Spec {
	o = o.WithDefaults()
	return jobspec.Spec{
		Version: jobspec.Version, Labels: map[string]string{Label: LabelValue},
		Run:       jobspec.Run{Image: Image, Command: []string{"python3", "/code/crawl.py"}, Per: jobspec.PerTask},
		Split:     jobspec.Split{By: jobspec.SplitEntries},
		Resources: o.Resources, Timeouts: o.Timeouts, Network: o.Network,
	}
}

// Code returns the files of the code folder.
func Code() (map[string][]byte, error) {
	files := map[string][]byte{}
	names, err := fs.Glob(spider, "spider/*.py")
	for _, name := range names {
		b, err := spider.ReadFile(name)
		if err != nil {
			return nil, err
		}
		files[name[len("spider/"):]] = b
	}
	return files, err
}

func refuse(where, detail, hint string) error {
	return jobspec.Failure{Kind: jobspec.KindSpec, Where: where, Detail: detail, Hint: hint}.Error()
}
