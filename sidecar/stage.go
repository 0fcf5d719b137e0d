package sidecar

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// stage is one stage of a job as a job of its own: its Spec is that of this
// stage alone. A job without stages is its only one.
type stage struct {
	jobspec.Job
	index int
	whole jobspec.Spec           // of the job
	side  map[string]jobspec.CID // results of earlier stages that its tasks see besides, once they are known
}

// stageOf returns stage i of a job.
func stageOf(job jobspec.Job, i int) stage {
	st := stage{Job: job, index: i, whole: job.Spec}
	st.Spec = job.Spec.Stage(i)
	return st
}

// stagesOf returns all stages of a job, one where it has none.
func stagesOf(job jobspec.Job) []stage {
	list := make([]stage, job.Spec.CountStages())
	for i := range list {
		list[i] = stageOf(job, i)
	}
	return list
}

// staged says whether the job has stages.
func (st stage) staged() bool { return len(st.whole.Stages) > 0 }

// name is what its author calls the stage; "" in a job without stages.
func (st stage) name() string {
	if !st.staged() {
		return ""
	}
	return st.whole.Stages[st.index].Name
}

// near says whether what the stage reads is here, as what earlier stages gave.
func (st stage) near() bool { return st.staged() && len(st.whole.Stages[st.index].Needs) > 0 }

// last says whether the stage's outputs are the result.
func (st stage) last() bool { return st.index == st.whole.CountStages()-1 }

// pin is the name of a pin of the stage.
func (st stage) pin(what string) string {
	if st.staged() {
		what = fmt.Sprintf("%s%d/%s", stagePins, st.index, what)
	}
	return pinName(st.ID, what)
}

// stagePins begins what the pins of single stages are for.
const stagePins = "stage/"

// keptOutputs says whether a pin of that kind outlives the work on its job, as
// what is remembered of the tasks of a stage lies below it.
func keptOutputs(what string) bool {
	return what == "outputs" || strings.HasPrefix(what, checkpointPins) || strings.HasPrefix(what, stagePins) && strings.HasSuffix(what, "/outputs")
}

// at adds to err in which stage it came up.
func (st stage) at(err error) error {
	if err == nil || !st.staged() || outside(err) || durable.Full(err) {
		return err
	}
	f := jobspec.AsFailure(err)
	switch root, _, _ := strings.Cut(f.Where, "."); {
	case root == "run" || root == "split" || root == "resources":
		f.Where = fmt.Sprintf("stages[%d].%s", st.index, f.Where)
	case f.Where == "":
		f.Where = "stage " + st.name()
	case strings.HasPrefix(f.Where, "task ") || f.Where == "merge":
		f.Where = "stage " + st.name() + ", " + f.Where
	}
	return f.Error()
}

// Names below /inputs where a task sees more than its shard.
const (
	inputData    = "data"
	inputSide    = "side"
	inputOffsets = "offsets"
)

// layOut returns what a task sees at /inputs: its shard, or, where the stage
// asks for more, a directory with that, side results and offsets.
func (st stage) layOut(ctx context.Context, w ipfs.Session, shard jobspec.CID, offsets string) (jobspec.CID, error) {
	if !st.laidOut() {
		return shard, nil
	}
	files := []merge.File{{Path: inputData, CID: shard}}
	for name, root := range st.side {
		files = append(files, merge.File{Path: inputSide + "/" + name, CID: root})
	}
	if st.Spec.Split.Offsets {
		c, size, err := pack.File(ctx, w, strings.NewReader(offsets))
		if err != nil {
			return shard, fmt.Errorf("offsets of pieces: %w", err)
		}
		files = append(files, merge.File{Path: inputOffsets, CID: c, Size: size})
	}
	return merge.Files(ctx, w, files)
}

// laidOut says whether a task sees more than its shard.
func (st stage) laidOut() bool { return len(st.side) > 0 || st.Spec.Split.Offsets }

// offsetsOf tells where the pieces of a shard begin in their files, a line each;
// those that begin at 0 are left out.
func offsetsOf(s split.Shard) string {
	files := slices.Clone(s.Files)
	slices.SortFunc(files, func(a, b split.File) int { return strings.Compare(a.Path, b.Path) })
	var text strings.Builder
	for _, f := range files {
		if f.Offset > 0 {
			fmt.Fprintf(&text, "%d %s\n", f.Offset, f.Path)
		}
	}
	return text.String()
}
