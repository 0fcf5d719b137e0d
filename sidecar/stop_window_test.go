package sidecar_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// heldPartial holds up the keeping of a job's partial output.
type heldPartial struct {
	ipfs.Node
	once    *sync.Once
	entered chan<- struct{}
	goOn    <-chan struct{}
}

func (h heldPartial) hold(name string) {
	if strings.HasSuffix(name, "/partial") {
		h.once.Do(func() { close(h.entered); <-h.goOn })
	}
}

func (h heldPartial) Add(ctx context.Context, name string, fill func(ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
	h.hold(name)
	return h.Node.Add(ctx, name, fill)
}

func (h heldPartial) Pin(ctx context.Context, name string, root jobspec.CID) error {
	h.hold(name)
	return h.Node.Pin(ctx, name, root)
}

// A stop that is granted holds, also while a job whose program has failed is
// being ended.
func TestStopWhileAFailedJobEnds(t *testing.T) {
	b := newBench(t)
	entered, goOn := make(chan struct{}), make(chan struct{})
	b.stop()
	b.ipfs = heldPartial{b.ipfs, new(sync.Once), entered, goOn}
	b.start()
	id := b.submit(spec("DUMMY_WRITE=/outputs/a:x", "DUMMY_EXIT=3"))
	<-entered
	_, err := b.Stop(t.Context(), "t", id)
	close(goOn)
	if err != nil {
		t.Fatalf("Stop = %v, want it granted", err)
	}
	if j := b.final(id); j.State != jobspec.JobStopped || !j.Partial.Defined() {
		t.Errorf("job = %s, %+v, partial %s, want stopped with what it wrote", j.State, j.Failure, j.Partial)
	}
}
