package sidecar_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// spec is a per-task job whose container does what script says.
func spec(script ...string) jobspec.Spec {
	env := map[string]string{}
	for _, s := range script {
		k, v, _ := strings.Cut(s, "=")
		env[k] = v
	}
	return jobspec.Spec{Version: jobspec.Version, Run: jobspec.Run{Image: "any", Command: []string{"x"}, Env: env}}
}

func (b *bench) submit(s jobspec.Spec) string {
	b.t.Helper()
	j, _, err := b.Submit(b.t.Context(), api.Submission{Tenant: "t", Spec: s})
	if err != nil {
		b.t.Fatalf("submit: %v", err)
	}
	return j.ID.String()
}

// final follows a job to its end.
func (b *bench) final(ref string) wire.Job {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Events(ctx, "t", ref, 0, true, func(jobspec.Event) error { return nil }); err != nil {
		b.t.Fatalf("follow %s: %v", ref, err)
	}
	j, err := b.Job(ctx, "t", ref)
	if err != nil || !j.State.Final() {
		b.t.Fatalf("job %s is %s, %v", ref, j.State, err)
	}
	return j
}

// onlyJob returns the record of the one job that the node knows, as a worker of
// another node's or as its owner.
func (b *bench) onlyJob() wire.Job {
	b.t.Helper()
	list, err := b.Jobs(b.t.Context(), "*", api.JobFilter{All: true})
	if err != nil || len(list) != 1 {
		b.t.Fatalf("the node has %d jobs, %v", len(list), err)
	}
	j, err := b.Job(b.t.Context(), list[0].Tenant, list[0].ID.String())
	if err != nil {
		b.t.Fatal(err)
	}
	return j
}

// until follows a job until its first attempt is in a state.
func (b *bench) until(ref string, want jobspec.AttemptState) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		j, err := b.Job(b.t.Context(), "t", ref)
		if err != nil {
			b.t.Fatal(err)
		}
		if len(j.Attempts) > 0 && j.Attempts[0].State == want {
			return
		}
	}
	b.t.Fatalf("no attempt of %s became %s", ref, want)
}

// triedAgain waits until the second attempt of a job runs, and lets it end.
func (b *bench) triedAgain(ref string) {
	b.t.Helper()
	b.untilJob(ref, "is tried again", func(j wire.Job) bool {
		return j.State.Final() || len(j.Attempts) == 2 && j.Attempts[1].State == jobspec.AttemptRunning
	})
	b.state.Release()
}

// input adds files and returns the directory's CID.
func (b *bench) input(files ...string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(f), 0o644)); err != nil {
			b.t.Fatal(err)
		}
	}
	c, err := b.ipfs.Add(b.t.Context(), "user/input", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(b.t.Context(), s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return c.String()
}

// outputs returns a result's files.
func (b *bench) outputs(root jobspec.CID) map[string]string {
	b.t.Helper()
	m := map[string]string{}
	err := tree.Walk(b.t.Context(), b.ipfs, root, ipfs.Budget{}, func(e tree.Entry) error {
		if e.Kind == tree.File {
			var s strings.Builder
			_, err := tree.Copy(b.t.Context(), b.ipfs, e.CID, &s, ipfs.Budget{})
			m[e.Path] = s.String()
			return err
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// files returns the CIDs of a result's files.
func (b *bench) files(root jobspec.CID) map[string]jobspec.CID {
	b.t.Helper()
	m := map[string]jobspec.CID{}
	err := tree.Walk(b.t.Context(), b.ipfs, root, ipfs.Budget{}, func(e tree.Entry) error {
		if e.Kind == tree.File {
			m[e.Path] = e.CID
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}
