package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// From the first submit on there may be a job of a cluster, also where its
// answer was an error: down asks the node then.
func TestTFStarted(t *testing.T) {
	f, made, code := newTFCluster(t)
	if !made.Unstarted {
		t.Errorf("tfSpec = %+v, want one that is not started", made)
	}
	const lists, sends, submits = "GET /v1/jobs", "POST /v1/dag", "POST /v1/jobs"
	node := keeps{lists: wire.JobList{}, sends: wire.Added{CID: code}, submits: jobspec.Failure{Kind: jobspec.KindLimit}}
	_, _, asked, err := node.does(t, "tf", "up", "--dir", f.dir)
	if !errors.Is(err, jobspec.KindLimit.Error()) || !slices.Contains(asked, submits) {
		t.Fatalf("tf up = %v and asks for %v, want that the submit is refused", err, asked)
	}
	if now, err := f.cluster(); err != nil || now.Unstarted || now.ID != made.ID {
		t.Errorf("after the submit the cluster is %+v, %v, want it to count as started", now, err)
	}
	_, _, asked, err = node.does(t, "tf", "down", "--dir", f.dir)
	if err != nil || !slices.Equal(asked, []string{lists}) {
		t.Errorf("tf down = %v and asks for %v, want %s", err, asked, lists)
	}
}

// Down asks the node also about a cluster that its file calls unstarted: a copy of
// the file may be of one that runs. Only that there is no node is borne then.
func TestTFDown(t *testing.T) {
	runs := jobspec.Job{ID: jobspec.NewJobID(time.Now()), State: jobspec.JobRunning}
	ended := runs
	ended.State = jobspec.JobStopped
	lists, stops := "GET /v1/jobs", "POST /v1/jobs/"+runs.ID.String()+"/stop"
	node := keeps{lists: wire.JobList{Jobs: []wire.Job{{Job: runs}}}, stops: wire.Job{Job: ended}, "GET /v1/jobs/" + runs.ID.String(): wire.Job{Job: ended}}
	gone := func(f *tfFlags) bool {
		_, err := f.cluster()
		return errors.Is(err, jobspec.KindNotFound.Error())
	}

	f, _, _ := newTFCluster(t)
	if _, said, asked, err := node.does(t, "tf", "down", "--dir", f.dir); err != nil || !slices.Contains(asked, stops) || !gone(f) {
		t.Errorf("tf down of a copy = %v, asks for %v, want that the job is stopped; it says:\n%s", err, asked, said)
	}

	none := func(f *tfFlags) error {
		root := (&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
		root.SetArgs([]string{"--path", t.TempDir(), "tf", "down", "--dir", f.dir})
		return root.ExecuteContext(t.Context())
	}
	f, _, _ = newTFCluster(t)
	if err := none(f); err != nil || !gone(f) {
		t.Errorf("without a node, tf down of a cluster that was not started = %v", err)
	}
	f, made, _ := newTFCluster(t)
	if err := f.started(made); err != nil {
		t.Fatal(err)
	}
	if err := none(f); !errors.Is(err, client.ErrNoNode) || gone(f) {
		t.Errorf("without a node, tf down of a cluster that was started = %v, want ErrNoNode", err)
	}
}

// Up says no more than that the tasks run: their programs may not listen yet.
func TestTFUpSaysWhatItKnows(t *testing.T) {
	f, _, code := newTFCluster(t)
	runs := jobspec.Job{ID: jobspec.NewJobID(time.Now()), State: jobspec.JobRunning}
	now := wire.Job{Job: runs, Attempts: []jobspec.Attempt{{ID: jobspec.AttemptID{Job: runs.ID, Try: 1}, State: jobspec.AttemptRunning}}}
	node := keeps{"GET /v1/jobs": wire.JobList{}, "POST /v1/dag": wire.Added{CID: code}, "POST /v1/jobs": wire.Job{Job: runs}, "GET /v1/jobs/" + runs.ID.String(): now}
	out, said, _, err := node.does(t, "tf", "up", "--dir", f.dir)
	if err != nil || out != runs.ID.String()+"\n" {
		t.Fatalf("tf up = %v and prints %q, want the job; it says:\n%s", err, out, said)
	}
	if !strings.Contains(said, "all tasks run") || strings.Contains(said, "is up") {
		t.Errorf("tf up says %q, want that all tasks run, not that the cluster is up", said)
	}
}

// newTFCluster is a cluster of one worker, in a directory of its own, and the
// CID of what its task runs.
func newTFCluster(t *testing.T) (f *tfFlags, made tensorflow.Cluster, code jobspec.CID) {
	t.Helper()
	f = &tfFlags{dir: t.TempDir()}
	err := f.writeConf(tensorflow.Conf{"worker": {0}})
	if err == nil {
		made, err = (&app{out: io.Discard, err: io.Discard}).tfSpec(f)
	}
	if err == nil {
		code, err = hasher(t.Context())(func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
			return packFiles(ctx, s, tensorflow.Up(made, tensorflow.Worker()).Code)
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return f, made, code
}
