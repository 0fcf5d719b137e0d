package jobspec_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

func TestAsFailure(t *testing.T) {
	full := jobspec.Failure{Kind: jobspec.KindExit, Where: "task 3", Detail: "exit code 2", ExitCode: 2, Hint: "see the log"}
	one := &jobspec.Problems{List: []jobspec.Problem{{Path: "run.image", Detail: "is missing", Hint: "name one"}}}
	for name, tt := range map[string]struct {
		err  error
		want jobspec.Failure
	}{
		"itself":       {full.Error(), full},
		"wrapped kind": {fmt.Errorf("%w: no such job", jobspec.KindNotFound.Error()), jobspec.Failure{Kind: jobspec.KindNotFound, Detail: "no such job"}},
		"with operation": {fmt.Errorf("pull x: %w", jobspec.KindImageRef.Errorf("no image")),
			jobspec.Failure{Kind: jobspec.KindImageRef, Detail: "pull x: no image"}},
		"any error":   {errors.New("disk on fire"), jobspec.Failure{Kind: jobspec.KindInternal, Detail: "disk on fire"}},
		"joined":      {errors.Join(errors.New("a"), jobspec.KindQuota.Errorf("full")), jobspec.Failure{Kind: jobspec.KindQuota, Detail: "a\nfull"}},
		"one problem": {fmt.Errorf("submit: %w", one), jobspec.Failure{Kind: jobspec.KindSpec, Where: "run.image", Detail: "is missing", Hint: "name one"}},
		"two problems": {&jobspec.Problems{List: []jobspec.Problem{one.List[0], {Path: "b", Detail: "stands twice", Kind: jobspec.KindDupKey}}},
			jobspec.Failure{Kind: jobspec.KindSpec, Detail: "2 problems: run.image: is missing (name one); b: stands twice",
				Hint: "docs/jobspec.md lists every field with its range"}},
	} {
		if diff := cmp.Diff(tt.want, jobspec.AsFailure(tt.err)); diff != "" {
			t.Errorf("%s: AsFailure (-want +got):\n%s", name, diff)
		}
	}
}
