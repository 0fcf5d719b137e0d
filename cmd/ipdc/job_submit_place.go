package main

import (
	"maps"

	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/jobspec"
)

// addPlace adds the flags that say which nodes may run the job.
func (f *submitFlags) addPlace(fs *pflag.FlagSet) {
	fs.StringVar(&f.place, "place", "", "where tasks run: local (only where all of their input is held), prefer (there first) or any (who has least to do) (default prefer)")
	fs.StringArrayVar(&f.require, "require", nil, "what a node must have: arch=amd64, region=eu, label.NAME=VALUE, label=NAME (repeatable)")
	fs.StringVar(&f.overflow, "overflow", "", "keep nodes that have this, such as label=cloud, for tasks that waited for the others")
	fs.StringVar(&f.overflowAfter, "overflow-after", "", "with --overflow: how long a task waits, such as 10m")
	fs.IntVar(&f.minWorkers, "min-workers", 0, "refuse the job when fewer members than that, this one included, could run it (default 1)")
	fs.StringSliceVar(&f.expose, "expose", nil, "what the program is told of the run: shard, job or node (repeatable)")
}

// setPlace sets what those flags say; they win over a spec's.
func (r *request) setPlace(f *submitFlags) error {
	s := &r.spec
	if f.gpu != 0 {
		s.Resources.GPU = f.gpu
	}
	setString(&s.Isolation, jobspec.Isolation(f.isolation))
	if len(f.expose) > 0 {
		s.Expose = nil
	}
	for _, e := range f.expose {
		s.Expose = append(s.Expose, jobspec.Exposure(e))
	}
	p := &s.Place
	if f.minWorkers != 0 {
		p.MinWorkers = f.minWorkers
	}
	p.Require = maps.Clone(p.Require)
	need := func(key, value string) {
		if p.Require == nil {
			p.Require = map[string]string{}
		}
		p.Require[key] = value
	}
	for _, text := range f.require {
		key, value, err := jobspec.ParseRequirement(text)
		if err != nil {
			return usagef("--require: %w", err)
		}
		need(key, value)
	}
	switch f.place {
	case "":
	case "local":
		need("data", "local")
		p.Prefer = ""
	case "prefer", "any":
		delete(p.Require, "data")
		p.Prefer = map[string]jobspec.Prefer{"prefer": jobspec.PreferLocal, "any": jobspec.PreferAny}[f.place]
	default:
		return usagef("--place %q: want local, prefer or any", f.place)
	}
	setString(&p.Overflow.To, f.overflow)
	return setting("overflow-after", f.overflowAfter, &p.Overflow.After)
}
