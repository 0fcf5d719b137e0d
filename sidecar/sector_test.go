package sidecar_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// With split.by: car there is a task for each sector, which it sees as files or
// as a CAR.
func TestSectors(t *testing.T) {
	b := newBench(t)
	input := b.input("one.car/a", "one.car/b/c", "more/two.car/d")
	for as, c := range map[jobspec.As]struct {
		copy string
		want []string
	}{
		jobspec.AsFiles: {"/inputs:/outputs/all", []string{"0/all/more/two.car/d", "1/all/one.car/a", "1/all/one.car/b/c"}},
		jobspec.AsCAR:   {"/inputs.car:/outputs/sector.car", []string{"0/sector.car", "1/sector.car"}},
	} {
		t.Run(string(as), func(t *testing.T) {
			s := spec("DUMMY_COPY=" + c.copy)
			s.Inputs = []jobspec.Input{{CID: input, As: as}}
			s.Split.By, s.Merge = jobspec.SplitCAR, jobspec.MergeShards
			j := b.final(b.submit(s))
			if j.State != jobspec.JobSucceeded || len(j.Tasks) != 2 {
				t.Fatalf("job is %s with %d tasks, want succeeded with 2: %+v", j.State, len(j.Tasks), j.Failure)
			}
			if got := slices.Sorted(maps.Keys(b.outputs(j.Result))); !slices.Equal(got, c.want) {
				t.Errorf("tasks saw %q, want %q", got, c.want)
			}
		})
	}
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Inputs, s.Split.By = []jobspec.Input{{CID: b.input("one.car/a", "README"), As: jobspec.AsCAR}}, jobspec.SplitCAR
	if j := b.final(b.submit(s)); j.Failure == nil || j.Failure.Kind != jobspec.KindUnixFS || j.Failure.Where != "split" || !strings.Contains(j.Failure.Detail, "README") {
		t.Errorf("job over sectors and a stray file: %+v, want E_UNIXFS at split that names it", j.Failure)
	}
}
