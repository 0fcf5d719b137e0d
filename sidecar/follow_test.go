package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// stuck is a block store to which no output of another node comes: who pins
// one waits.
type stuck struct {
	ipfs.Node
	ipfs.StoredPinner
	once sync.Once
	came chan struct{} // closed by the first such pin
}

func (s *stuck) Pin(ctx context.Context, name string, root jobspec.CID) error {
	if !strings.Contains(name, "/attempt/") {
		return s.Node.Pin(ctx, name, root)
	}
	s.once.Do(func() { close(s.came) })
	<-ctx.Done()
	return context.Cause(ctx)
}

// While an output is fetched its job can be stopped, and a member that is gone
// is noticed.
func TestF53OutputThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens func(f *fleet, id string)
		want    jobspec.JobState
	}{
		"stop": {func(f *fleet, id string) {
			if _, err := f.nodes[0].Stop(f.t.Context(), "t", id); err != nil {
				f.t.Error(err)
			}
		}, jobspec.JobStopped},
		"member is gone": {func(f *fleet, _ string) { f.nodes[1].stop() }, jobspec.JobSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, 2)
			owner := f.nodes[0]
			root, files := f.dataset(1)
			s := partOf(root, files, 1)
			s.Replicate = 1
			hung := &stuck{Node: owner.ipfs, StoredPinner: owner.ipfs.(ipfs.StoredPinner), came: make(chan struct{})}
			owner.ipfs = hung
			f.lease(lossLease)
			id := owner.submit(s)
			owner.untilJob(id, "has an output to fetch", func(j wire.Job) bool {
				select {
				case <-hung.came:
					return true
				default:
					return j.State.Final()
				}
			})
			c.happens(f, id)
			if j := owner.final(id); j.State != c.want {
				t.Errorf("job is %s: %+v, want %s", j.State, j.Failure, c.want)
			}
		})
	}
}

// A member that reports an output and does not give it is given up.
func TestOutputThatNobodyHas(t *testing.T) {
	f := newFleet(t, 2)
	root, files := f.dataset(1)
	liar := f.nodes[1]
	liar.stop()
	nothing, err := jobspec.ParseCID("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
	if err != nil {
		t.Fatal(err)
	}
	f.lieAs(liar, func(rc *jobspec.Receipt) {
		rc.Output = nothing
		*rc, _ = jobspec.SignReceipt(liar.key, *rc)
	})
	s := perItem(root, files)
	s.Replicate = 1 // the liar answers no other question
	j := f.nodes[0].final(f.nodes[0].submit(s))
	if j.State != jobspec.JobSucceeded || j.Result.String() != root {
		t.Errorf("job is %s with %s, want succeeded with %s: %+v", j.State, j.Result, root, j.Failure)
	}
}
