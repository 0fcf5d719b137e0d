package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// From the first submit on there may be a job of a cluster, also where its
// answer was an error: down asks the node then.
func TestTFStarted(t *testing.T) {
	f := &tfFlags{dir: t.TempDir()}
	a := &app{out: io.Discard, err: io.Discard}
	if err := f.writeConf(tensorflow.Conf{"worker": {0}}); err != nil {
		t.Fatal(err)
	}
	made, err := a.tfSpec(f)
	if err != nil || !made.Unstarted {
		t.Fatalf("tfSpec = %+v, %v, want one that is not started", made, err)
	}
	code, err := hasher(t.Context())(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
		return packFiles(ctx, s, tensorflow.Up(made, tensorflow.Worker()).Code)
	})
	if err != nil {
		t.Fatal(err)
	}
	const lists, sends, submits = "GET /v1/jobs", "POST /v1/dag", "POST /v1/jobs"
	node := keeps{lists: wire.JobList{}, sends: wire.Added{CID: code}, submits: jobspec.Failure{Kind: jobspec.KindLimit}}
	_, _, err, asked := node.does(t, "tf", "up", "--dir", f.dir)
	if !errors.Is(err, jobspec.KindLimit.Error()) || !slices.Contains(asked, submits) {
		t.Fatalf("tf up = %v and asks for %v, want that the submit is refused", err, asked)
	}
	if now, err := f.cluster(); err != nil || now.Unstarted || now.ID != made.ID {
		t.Errorf("after the submit the cluster is %+v, %v, want it to count as started", now, err)
	}
	_, _, err, asked = node.does(t, "tf", "down", "--dir", f.dir)
	if err != nil || !slices.Equal(asked, []string{lists}) {
		t.Errorf("tf down = %v and asks for %v, want %s", err, asked, lists)
	}
}
