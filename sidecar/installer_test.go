package sidecar_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// requirements adds a directory of files, "name=text" each.
func (b *bench) requirements(files ...string) jobspec.CID {
	b.t.Helper()
	c, err := b.ipfs.Add(b.t.Context(), "user/requirements", func(s ipfs.Session) (jobspec.CID, error) {
		var list []merge.File
		for _, f := range files {
			name, text, _ := strings.Cut(f, "=")
			c, n, err := pack.File(b.t.Context(), s, strings.NewReader(text))
			if err != nil {
				return c, err
			}
			list = append(list, merge.File{Path: name, CID: c, Size: n})
		}
		return merge.Files(b.t.Context(), s, list)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

// jobs returns all jobs, those of others' needs included.
func (b *bench) jobs() (parents, children []wire.Job) {
	b.t.Helper()
	all, err := b.Jobs(b.t.Context(), "t", api.JobFilter{All: true})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, j := range all {
		if j.Parent == "" {
			parents = append(parents, j)
		} else {
			children = append(children, j)
		}
	}
	return parents, children
}

// Requirements are installed by a job of their own, once for all jobs that ask
// for the same, and again when a job asks for a refresh.
func TestRequirementsAreInstalledOnce(t *testing.T) {
	b := newBench(t)
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Run.Requirements = b.requirements("requirements.txt=six==1.16.0\n")
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job = %s %+v", j.State, j.Failure)
	}
	s.Run.Env["OTHER"] = "1"
	b.final(b.submit(s))
	_, children := b.jobs()
	if len(children) != 1 || children[0].Parent != j.ID || len(children[0].Spec.Network) != 2 {
		t.Fatalf("installations = %+v, want one of the first job, with the index as its network", children)
	}
	if last, err := b.Job(t.Context(), "t", "@last"); err != nil || last.Parent != "" {
		t.Errorf("@last = %s of %q, %v, want a job of the user's", last.ID, last.Parent, err)
	}
	s.Cache = jobspec.CacheRefresh
	b.final(b.submit(s))
	if _, children = b.jobs(); len(children) != 2 {
		t.Errorf("%d installations after a refresh, want 2", len(children))
	}
	for _, c := range children {
		b.nothingLeft(c.ID.String())
	}
	b.nothingLeft(j.ID.String())
}

// An installation asks for no more than a task may have on this node.
func TestInstallationKeepsToTheLimits(t *testing.T) {
	b := newBench(t)
	b.limits = sidecar.Limits{Task: jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB}, Run: jobspec.Duration(20 * time.Minute)}
	b.restart()
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Run.Requirements = b.requirements("requirements.txt=six\n")
	if j := b.final(b.submit(s)); j.State != jobspec.JobSucceeded {
		t.Errorf("job = %s %+v", j.State, j.Failure)
	}
}

func TestRequirementsAreChecked(t *testing.T) {
	b := newBench(t)
	s := spec()
	s.Run.Requirements = b.requirements("requirements.txt=six\n-e .\n")
	j := b.final(b.submit(s))
	if j.Failure == nil || j.Failure.Kind != jobspec.KindSpec || !strings.Contains(j.Failure.Detail, "line 2") {
		t.Errorf("failure = %+v, want E_SPEC at line 2", j.Failure)
	}
	if _, children := b.jobs(); len(children) != 0 {
		t.Errorf("installations = %+v, want none", children)
	}
}

// Wheels are the only source when there are some: no network is asked for.
func TestWheelsNeedNoNetwork(t *testing.T) {
	b := newBench(t)
	s := spec()
	s.Run.Requirements = b.requirements("demo-1.0-py3-none-any.whl=not looked into here")
	b.final(b.submit(s))
	if _, children := b.jobs(); len(children) != 1 || len(children[0].Spec.Network) != 0 {
		t.Errorf("installations = %+v, want one without a network", children)
	}
}

// A job that is stopped while its packages are installed stops that too; one
// that is taken up after a restart goes on with the same installation.
func TestStopAndRestartDuringInstallation(t *testing.T) {
	b := newBench(t)
	slow := slowCreate{entered: make(chan struct{}), finish: make(chan struct{})}
	b.wrap = func(ex executor.Executor) executor.Executor { slow.Executor = ex; return slow }
	b.restart()
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Run.Requirements = b.requirements("requirements.txt=six\n")
	id := b.submit(s)
	<-slow.entered
	b.wrap = nil
	b.restart()
	if j := b.final(id); j.State != jobspec.JobSucceeded {
		t.Errorf("job after a restart = %s %+v", j.State, j.Failure)
	}
	if _, children := b.jobs(); len(children) != 1 {
		t.Errorf("%d installations after a restart, want 1", len(children))
	}

	b.wrap = func(ex executor.Executor) executor.Executor { slow.Executor = ex; return slow }
	b.restart()
	s.Cache = jobspec.CacheRefresh
	id = b.submit(s)
	<-slow.entered
	if _, err := b.Stop(t.Context(), "t", id); err != nil {
		t.Fatal(err)
	}
	if j := b.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job = %s, want stopped", j.State)
	}
	close(slow.finish)
	_, children := b.jobs()
	if j := b.final(children[0].ID.String()); j.State != jobspec.JobStopped {
		t.Errorf("installation = %s, want stopped", j.State)
	}
}

// A stop that was acknowledged just before the node was killed stops the
// installation too.
func TestStopSurvivesRestartDuringInstallation(t *testing.T) {
	b := newBench(t)
	slow := slowCreate{entered: make(chan struct{}, 2), finish: make(chan struct{})}
	b.wrap = func(ex executor.Executor) executor.Executor { slow.Executor = ex; return slow }
	b.restart()
	s := spec("DUMMY_WRITE=/outputs/a:x")
	s.Run.Requirements = b.requirements("requirements.txt=six\n")
	id := b.submit(s)
	<-slow.entered
	b.stop()
	err := b.store.Update(t.Context(), func(tx *store.Tx) error {
		j, err := tx.Job(jobspec.JobID(id))
		j.Stopping = true
		return errors.Join(err, tx.PutJob(j))
	})
	if err != nil {
		t.Fatal(err)
	}
	b.start()
	if j := b.final(id); j.State != jobspec.JobStopped {
		t.Errorf("job = %s, want stopped", j.State)
	}
	_, children := b.jobs()
	close(slow.finish)
	if j := b.final(children[0].ID.String()); j.State != jobspec.JobStopped {
		t.Errorf("installation = %s, want stopped", j.State)
	}
}

// Jobs that wait for installations leave room for the installations.
func TestManyInstallationsAtOnce(t *testing.T) {
	b := newBench(t)
	var ids []string
	for _, v := range strings.Split("abcdefghijkl", "") { // more than prepare at once
		s := spec("DUMMY_WRITE=/outputs/a:x")
		s.Run.Requirements = b.requirements("requirements.txt=" + v + "\n")
		ids = append(ids, b.submit(s))
	}
	for _, id := range ids {
		if j := b.final(id); j.State != jobspec.JobSucceeded {
			t.Errorf("job = %s %+v", j.State, j.Failure)
		}
	}
}

// A CAR holds any DAG; asked for as files, one that is not UnixFS is refused
// with that hint.
func TestInputAsCAR(t *testing.T) {
	b := newBench(t)
	block, err := jobspec.EncodeCBOR(map[string]any{"hello": "world"})
	if err != nil {
		t.Fatal(err)
	}
	root, err := b.ipfs.Add(t.Context(), "user/cbor", func(s ipfs.Session) (jobspec.CID, error) {
		sum, err := multihash.Sum(block, multihash.SHA2_256, -1)
		if err != nil {
			return jobspec.CID{}, err
		}
		c := jobspec.WrapCID(cid.NewCidV1(cid.DagCBOR, sum))
		return c, s.Put(t.Context(), c, block)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := spec("DUMMY_COPY=/inputs.car:/outputs/x.car")
	s.Inputs = []jobspec.Input{{CID: root.String(), As: jobspec.AsCAR}}
	j := b.final(b.submit(s))
	if j.State != jobspec.JobSucceeded {
		t.Fatalf("job = %s %+v", j.State, j.Failure)
	}
	if got := b.outputs(j.Result)["x.car"]; !strings.Contains(got, string(block)) {
		t.Errorf("the CAR is %q, want one with the block; %+v", got, j.Failure)
	}
	s.Inputs[0].As = jobspec.AsFiles
	j = b.final(b.submit(s))
	if j.Failure == nil || j.Failure.Kind != jobspec.KindCodec || !strings.Contains(j.Failure.Hint, "--as car") {
		t.Errorf("failure = %+v, want E_CODEC with a hint", j.Failure)
	}
}
