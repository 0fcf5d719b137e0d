package jobspec

import "slices"

// The defaults that WithDefaults fills in.
const (
	DefaultCPU          = CPU(1000)
	DefaultMemory       = 512 * MiB
	DefaultDisk         = GiB
	DefaultRunTimeout   = Duration(15 * minute)
	DefaultTotalTimeout = Duration(2 * 60 * minute)
	DefaultAttempts     = 3
	DefaultReplicate    = 2             // one node may be lost; left out of specs, so that they keep their CIDs
	DefaultShard        = 64 * MiB      // some seconds of work for most programs
	MountPoint          = "/inputs"     // Input.At of files
	MountPointCAR       = "/inputs.car" // Input.At of a CAR

	minute = 60e9
)

// WithDefaults returns s with every field that has a default filled in, and
// with input paths in their canonical text. It changes nothing that s shares
// with others, keeps values that are wrong, and done twice does no more.
func (s Spec) WithDefaults() Spec {
	fill(&s.Version, Version)
	if len(s.Stages) == 0 {
		s.Run.fill()
	}
	s.Inputs = slices.Clone(s.Inputs)
	for i := range s.Inputs {
		in := &s.Inputs[i]
		fill(&in.As, AsFiles)
		fill(&in.At, in.As.mountPoint())
		if p, err := ParsePath(in.CID); err == nil {
			in.CID = p.String()
		}
		if r, err := ParseDatasetRef(in.Dataset); err == nil {
			in.Dataset = r.String()
		}
	}
	if len(s.Stages) == 0 {
		s.Gang = s.Gang.withDefaults()
		s.Split.fill(s.Gang)
		s.Merge.fill(s.Split, s.Gang)
	} else {
		last := s.Stages[len(s.Stages)-1]
		s.Merge.fill(last.Split, last.Gang)
	}
	fill(&s.Resources.CPU, DefaultCPU)
	fill(&s.Resources.Memory, DefaultMemory)
	fill(&s.Resources.Disk, DefaultDisk)
	s.Stages = s.stagesWithDefaults()
	fill(&s.Timeouts.Run, DefaultRunTimeout)
	if s.Timeouts.Run == NoLimit {
		fill(&s.Timeouts.Total, NoLimit)
	}
	fill(&s.Timeouts.Total, DefaultTotalTimeout)
	fill(&s.Retry.Attempts, DefaultAttempts)
	if len(s.Retry.On) == 0 {
		s.Retry.On = []Kind{KindLost}
	}
	fill(&s.Isolation, IsolationStandard)
	s.Place = s.Place.canonical()
	s.Expose = slices.Sorted(slices.Values(s.Expose))
	s.Network = canonicalNetwork(s.Network)
	if len(s.Network) > 0 || s.varies() || s.Gang != nil {
		fill(&s.Cache, CacheOff) // what a network gives may change, and what the tasks of a gang tell each other
	}
	fill(&s.Cache, CacheUse)
	return s
}

func (r *Run) fill() {
	fill(&r.Per, PerTask)
	if r.Per == PerItem {
		fill(&r.Feed, FeedStdin)
	}
}

func (s *Split) fill(g *Gang) {
	fill(&s.By, SplitAuto)
	if g != nil && s.sized() && s.Size == 0 {
		fill(&s.Into, g.Count())
	}
	if s.sized() && s.Into == 0 {
		fill(&s.Size, DefaultShard)
	}
}

func (m *Merge) fill(sp Split, g *Gang) {
	switch {
	case g != nil:
		fill(m, MergeShards)
	case sp.Cuts():
		fill(m, MergeConcat)
	}
	fill(m, MergeUnion)
}

func (as As) mountPoint() string {
	if as == AsCAR {
		return MountPointCAR
	}
	return MountPoint
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Holders is how many nodes are to hold the job's result, in all.
func (s Spec) Holders() int {
	if s.Replicate == 0 {
		return DefaultReplicate
	}
	return s.Replicate
}
