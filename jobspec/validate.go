package jobspec

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The ranges that Validate holds. Reasons stand in docs/jobspec.md.
const (
	MaxName     = 128       // runes of a name and of a label's value
	MaxLabels   = 32        //
	MaxLabelKey = 63        // bytes
	MinCPU      = CPU(10)   // the engine's own minimum
	MinMemory   = 6 * MiB   // the engine's own minimum
	MinDisk     = MiB       // room for a file system's tables
	MaxDisk     = GiB << 20 // 1 PiB, for memory too: sums stay far from overflow
	MinTimeout  = Duration(time.Second)
	MaxTimeout  = Duration(30 * day)
	MaxKeep     = Duration(3650 * day)
	MinShard    = 64 * KiB // below it there is more to be told of shards than in them
	MaxInto     = 100_000
	MaxSample   = 10_000
	MaxRecord   = GiB // as long as the longest line that is looked for
	MaxAttempts = 10

	MaxItemRetries = 10 // with pauses of five minutes in all
	MaxGPU         = 64
	MaxReplicate   = 16        // more copies cost more than they save
	MaxArguments   = 128 << 10 // bytes of a command, or of an environment, with terminators
)

// Validate checks s as [Parse] does, whatever s came from; zero values stand
// for their defaults. The error is of type [*Problems] and holds all that is
// wrong. Whether a node can run s is [Spec.Against]'s question.
func (s Spec) Validate() error {
	s = s.WithDefaults()
	var l problemList
	if s.Version != Version {
		l.add("version", "is %q, want %q", clip(s.Version), Version)
	}
	if why := badText(s.Name); why != "" {
		l.add("name", "%s", why)
	} else if strings.HasPrefix(s.Name, "@") {
		l.add("name", "begins with @, which is kept for references such as @last")
	}
	validateLabels(&l, s.Labels)
	s.validateInputs(&l)
	switch {
	case len(s.Stages) > 0:
		s.validateStages(&l)
		s.Stage(len(s.Stages) - 1).validateMerge(&l)
	case s.Run.Image == "" && len(s.Run.Command) == 0:
		l.add("run", "is missing: say what to run, or give stages")
	default:
		s.Run.validate(&l)
		s.validatePer(&l)
		s.validateSplit(&l)
		s.validateMerge(&l)
		s.validateGang(&l, 0)
	}
	s.Resources.validate(&l)
	s.Timeouts.validate(&l, s.HasGang())
	s.Retry.validate(&l, s.hasItems())
	validateNetwork(&l, s.Network)
	validateOutlets(&l, "publish", s.Publish, ParsePublish)
	validateOutlets(&l, "notify", s.Notify, ParseNotify)
	s.validateIsolation(&l)
	oneOf(&l, "cache", s.Cache, CacheUse, CacheRefresh, CacheOff)
	s.Place.validate(&l, len(s.Inputs))
	s.validateExpose(&l)
	if s.Keep != 0 {
		inRange(&l, "keep", s.Keep, MinTimeout, MaxKeep)
	}
	if s.Replicate < 0 || s.Replicate > MaxReplicate {
		l.add("replicate", "is %d, want 1 to %d", s.Replicate, MaxReplicate)
	}
	return l.err()
}

func (s Spec) validateIsolation(l *problemList) {
	oneOf(l, "isolation", s.Isolation, IsolationStandard, IsolationStrict)
	gpus := s.Resources.GPU
	for _, st := range s.Stages {
		gpus = max(gpus, st.Resources.GPU)
	}
	if s.Isolation == IsolationStrict && gpus > 0 {
		l.add("isolation", "is strict, and resources.gpu asks for %d: the host's driver is not behind a kernel of its own; use standard, or no GPU", gpus)
	}
}

// badText says why s is no line of text for people, or "".
func badText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case utf8.RuneCountInString(s) > MaxName:
		return fmt.Sprintf("has %d characters, at most %d are kept", utf8.RuneCountInString(s), MaxName)
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "has a character that does not print"
	}
	return ""
}

func validateLabels(l *problemList, labels map[string]string) {
	if len(labels) > MaxLabels {
		l.add("labels", "has %d entries, at most %d are kept", len(labels), MaxLabels)
	}
	for _, key := range sortedKeys(labels) {
		path := joinKey("labels", key)
		if key == "" || len(key) > MaxLabelKey || strings.ContainsFunc(key, notLabelRune) {
			l.add(path, "a label's name is 1 to %d of a-z, A-Z, 0-9, '.', '_', '/' and '-'", MaxLabelKey)
		}
		if why := badText(labels[key]); why != "" {
			l.add(path, "%s", why)
		}
	}
}

func notLabelRune(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._/-", r)
}

func (s Spec) validateInputs(l *problemList) {
	if len(s.Inputs) > 1 {
		l.add("inputs", "has %d entries, at most 1 is supported by this version", len(s.Inputs))
	}
	for i, in := range s.Inputs {
		path := joinIndex("inputs", i)
		in.validateSource(l, path)
		oneOf(l, path+".as", in.As, AsFiles, AsCAR)
		oneOf(l, path+".at", in.At, in.As.mountPoint())
	}
}

// validatePer checks that what a per: item program runs for is there.
func (s Spec) validatePer(l *problemList) {
	switch {
	case s.Run.Per != PerItem:
	case len(s.Inputs) == 0:
		l.add("inputs", "is missing: with per: item the command is run for the files of an input")
	case s.Inputs[0].As == AsCAR:
		l.add("inputs[0].as", "is car, which has no files: use run.per: task")
	}
}

func (s Spec) validateMerge(l *problemList) {
	oneOf(l, "merge", s.Merge, MergeUnion, MergeShards, MergeConcat)
	if s.Merge == MergeConcat && s.batches() {
		l.add("merge", "is concat, and batches of items have no order: use split.by: size, lines or bytes, or run.per: task")
	}
}

func (s Spec) validateSplit(l *problemList) {
	sp := s.Split
	switch {
	case sp.By != SplitBytes && sp.Record != 0:
		l.add("split.record", "needs by: bytes")
	case sp.By == SplitBytes && sp.Record == 0:
		l.add("split.record", "is missing: with by: bytes it says how long a record is, in bytes")
	case sp.By == SplitBytes:
		inRange(l, "split.record", sp.Record, 1, MaxRecord)
	}
	oneOf(l, "split.by", sp.By, SplitAuto, SplitNone, SplitSize, SplitLines, SplitBytes, SplitEntries, SplitCAR)
	switch {
	case !sp.Offsets:
	case !sp.Cuts():
		l.add("split.offsets", "needs by: lines or bytes, which cut files")
	case s.Run.Per == PerItem:
		l.add("split.offsets", "is for run.per: task")
	}
	switch {
	case sp.Sample == 0:
	case !sp.sized() || sp.Into != 0:
		l.add("split.sample", "needs by: size, lines or bytes, without into")
	case s.Run.Per == PerItem:
		l.add("split.sample", "is for run.per: task")
	case sp.Sample < 1 || sp.Sample > MaxSample:
		l.add("split.sample", "is %d, want 1 to %d", sp.Sample, MaxSample)
	}
	switch {
	case !sp.sized() && sp.Into != 0 && (sp.By != SplitAuto || s.Run.Per != PerItem):
		l.add("split.into", "needs by: size, lines or bytes, or run.per: item")
	case !sp.sized() && sp.Size != 0:
		l.add("split.size", "needs by: size, lines or bytes")
	case sp.Into != 0 && sp.Size != 0:
		l.add("split", "has into and size: one of them says how many shards there are")
	case sp.Into < 0 || sp.Into > MaxInto:
		l.add("split.into", "is %d, want 1 to %d", sp.Into, MaxInto)
	case sp.sized() && sp.Into == 0:
		inRange(l, "split.size", sp.Size, MinShard, MaxDisk)
	}
	if !sp.Shards() {
		return
	}
	switch {
	case len(s.Inputs) == 0:
		l.add("split.by", "is %s, and there is no input to split", sp.By)
	case s.Inputs[0].As == AsCAR && sp.By != SplitCAR:
		l.add("split.by", "is %s, and a CAR is not split: use inputs[0].as: files, or by: car for a task per sector", sp.By)
	}
}

// Check says what of r is outside of what a spec may ask for one task, for
// resources that another member names. The error is of type [*Problems].
func (r Resources) Check() error {
	var l problemList
	r.validate(&l)
	return l.err()
}

func (r Resources) validate(l *problemList) {
	inRange(l, "resources.cpu", r.CPU, MinCPU, 1_000_000*1000)
	inRange(l, "resources.memory", r.Memory, MinMemory, MaxDisk)
	inRange(l, "resources.disk", r.Disk, MinDisk, MaxDisk)
	if r.GPU < 0 || r.GPU > MaxGPU {
		l.add("resources.gpu", "is %d, want 0 to %d", r.GPU, MaxGPU)
	}
}

func (t Timeouts) validate(l *problemList, gang bool) {
	for _, f := range []struct {
		path string
		d    Duration
	}{{"timeouts.run", t.Run}, {"timeouts.total", t.Total}} {
		switch {
		case f.d != NoLimit:
			inRange(l, f.path, f.d, MinTimeout, MaxTimeout)
		case !gang:
			l.add(f.path, "is none, and only a job with a gang may run without a limit: say how long, up to %s", MaxTimeout)
		}
	}
	if t.Run > t.Total {
		l.add("timeouts.run", "is %s, longer than timeouts.total of %s", t.Run, t.Total)
	}
}

func (r Retry) validate(l *problemList, items bool) {
	if r.Attempts < 1 || r.Attempts > MaxAttempts {
		l.add("retry.attempts", "is %d, want 1 to %d", r.Attempts, MaxAttempts)
	}
	switch {
	case r.Items < 0 || r.Items > MaxItemRetries:
		l.add("retry.items", "is %d, want 0 to %d", r.Items, MaxItemRetries)
	case r.Items > 0 && !items:
		l.add("retry.items", "is for per: item only; a whole task is tried again with retry.attempts and retry.on")
	}
	for i, kind := range r.On {
		path := joinIndex("retry.on", i)
		oneOf(l, path, kind, KindLost, KindExit, KindSignal, KindOOM, KindTimeout)
		if slices.Contains(r.On[:i], kind) {
			l.add(path, "%s stands twice", kind)
		}
	}
}

// ranged is a type whose String is what users write.
type ranged interface {
	~int64
	String() string
}

func inRange[T ranged](l *problemList, path string, v, low, high T) {
	if v < low || v > high {
		l.add(path, "is %s, want %s to %s", v, low, high)
	}
}

func oneOf[T ~string](l *problemList, path string, v T, allowed ...T) {
	if slices.Contains(allowed, v) {
		return
	}
	texts := make([]any, len(allowed))
	for i, a := range allowed {
		texts[i] = a
	}
	l.add(path, "is %q, want one of %s", clip(string(v)), words(texts))
}
