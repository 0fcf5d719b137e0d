package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/gateway"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// public is a gateway that has what is in its blocks and never answers about
// the rest, as one that looks for providers does.
func public(t *testing.T, blocks *ipfstest.Memory) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := jobspec.ParseCID(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
		if err != nil {
			t.Error(err)
			return
		}
		data, err := blocks.Get(r.Context(), c)
		switch {
		case err != nil:
			<-r.Context().Done()
		case r.URL.Query().Get("format") == "car":
			w.Header().Set("Content-Type", "application/vnd.ipld.car")
			_ = car.Write(r.Context(), w, blocks, c)
		default:
			w.Header().Set("Content-Type", "application/vnd.ipld.raw")
			_, _ = w.Write(data)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// fetching makes a bench whose node fetches from one gateway.
func fetching(t *testing.T, url string, wait time.Duration) *bench {
	t.Helper()
	gw, err := gateway.New(gateway.Config{URLs: []string{url}, Wait: wait})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gw.Close() })
	return newBench(t, func(c *embedded.Config) { c.Fetcher = gw })
}

func packed(t *testing.T, m *ipfstest.Memory, text string) jobspec.CID {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	res, err := pack.Tree(t.Context(), m, dir, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return res.CID
}

func over(input string) jobspec.Spec {
	s := spec("DUMMY_WRITE=/outputs/o:done")
	s.Inputs = []jobspec.Input{{CID: input}}
	return s
}

// TestC44MissingDataDelaysNobody has more jobs over data that nobody has than the
// node prepares at once, a job over local data, and one over public data.
func TestC44MissingDataDelaysNobody(t *testing.T) {
	m := ipfstest.NewMemory()
	root := packed(t, m, "public")
	b := fetching(t, public(t, m), time.Hour)
	local := b.input("local")
	var lost []string
	for i := range 20 {
		c := packed(t, ipfstest.NewMemory(), fmt.Sprint("nobody has ", i))
		lost = append(lost, b.submit(over(c.String())))
	}
	for _, input := range []string{local, root.String(), root.String() + "/file"} {
		if j := b.final(b.submit(over(input))); j.State != jobspec.JobSucceeded {
			t.Errorf("job over %s = %s %+v", input, j.State, j.Failure)
		}
	}
	for _, id := range lost {
		j, err := b.Job(t.Context(), "t", id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State != jobspec.JobAccepted {
			t.Errorf("a job over data that nobody has is %s %+v, before its time is up", j.State, j.Failure)
		}
	}
	if _, err := b.Stop(t.Context(), "t", lost[0]); err != nil {
		t.Fatal(err)
	}
	if j := b.final(lost[0]); j.State != jobspec.JobStopped {
		t.Errorf("a stopped job = %s %+v", j.State, j.Failure)
	}
}

// TestMissingDataDelaysNoPlan has more plans over data that nobody has than
// the node prepares at once, and one over local data.
func TestMissingDataDelaysNoPlan(t *testing.T) {
	var asked sync.Map // CIDs that the gateway was asked for
	first := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, again := asked.LoadOrStore(r.URL.Path, true); !again {
			first <- struct{}{}
		}
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	b := fetching(t, srv.URL, time.Hour)
	local := b.input("local")
	ctx, cancel := context.WithCancel(t.Context())
	var plans errgroup.Group
	for i := range 8 {
		c := packed(t, ipfstest.NewMemory(), fmt.Sprint("nobody has ", i))
		plans.Go(func() error {
			_, err := b.Plan(ctx, api.Submission{Tenant: "t", Spec: over(c.String())})
			return err
		})
	}
	for range 8 {
		<-first
	}
	soon, give := context.WithTimeout(t.Context(), 2*time.Minute)
	defer give()
	if p, err := b.Plan(soon, api.Submission{Tenant: "t", Spec: over(local)}); err != nil || len(p.Tasks) != 1 {
		t.Errorf("Plan over local data = %+v, %v, want one task", p, err)
	}
	cancel()
	if err := plans.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Plan that was given up = %v, want context.Canceled", err)
	}
	if pins, err := b.ipfs.Pins(t.Context(), "job/"); err != nil || len(pins) > 0 {
		t.Errorf("plans left pins %v, %v", pins, err)
	}
}

// TestPartlyFetchedFile has a large file of which a look at it left the root
// here.
func TestPartlyFetchedFile(t *testing.T) {
	m := ipfstest.NewMemory()
	c, _, err := pack.File(t.Context(), m, strings.NewReader(strings.Repeat("large ", 1<<19)))
	if err != nil {
		t.Fatal(err)
	}
	b := fetching(t, public(t, m), time.Minute)
	if _, err := b.ipfs.Get(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if j := b.final(b.submit(over(c.String()))); j.State != jobspec.JobSucceeded {
		t.Errorf("job = %s %+v", j.State, j.Failure)
	}
}

func TestC44MissingDataFails(t *testing.T) {
	t.Parallel()
	m := ipfstest.NewMemory()
	url := public(t, m)
	for name, b := range map[string]*bench{
		"without a gateway": newBench(t),
		"with a gateway":    fetching(t, url, time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			c := packed(t, ipfstest.NewMemory(), "nobody has it")
			id := b.submit(over(c.String()))
			j := b.final(id)
			if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindFetchTimeout || j.Failure.Where != "inputs[0].cid" {
				t.Fatalf("job = %s %+v", j.State, j.Failure)
			}
			if !strings.Contains(j.Failure.Hint, "--gateway URL") || !strings.Contains(j.Failure.Detail, c.String()) {
				t.Errorf("failure %+v does not say what to do", j.Failure)
			}
			if name == "with a gateway" && !strings.Contains(j.Failure.Detail, url) {
				t.Errorf("failure %+v does not name the gateway", j.Failure)
			}
			b.nothingLeft(id)
		})
	}
}

// A gateway that gives a block each time just before it would be given up: the
// time for one input ends that, the job says so, and others are not held up.
func TestC45DrippingProvider(t *testing.T) {
	t.Parallel()
	m := ipfstest.NewMemory()
	many := t.TempDir()
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprint(i)), []byte(fmt.Sprint("file ", i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	res, err := pack.Tree(t.Context(), m, many, pack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	few := packed(t, m, "control")
	var one sync.Mutex // one block after the other
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := jobspec.ParseCID(strings.TrimPrefix(r.URL.Path, "/ipfs/"))
		if err != nil || r.URL.Query().Get("format") == "car" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		one.Lock()
		defer one.Unlock()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(300 * time.Millisecond):
		}
		if data, err := m.Get(r.Context(), c); err == nil {
			w.Header().Set("Content-Type", "application/vnd.ipld.raw")
			_, _ = w.Write(data)
		}
	}))
	t.Cleanup(srv.Close)
	b := fetching(t, srv.URL, time.Minute)
	b.budget.Time = 5 * time.Second
	b.restart()
	id := b.submit(over(res.CID.String()))
	if j := b.final(b.submit(over(b.input("local")))); j.State != jobspec.JobSucceeded {
		t.Errorf("a job over local data = %s %+v", j.State, j.Failure)
	}
	j := b.final(id)
	if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindFetchTimeout || !strings.Contains(j.Failure.Hint, "input-time") {
		t.Errorf("job = %s %+v, want E_FETCH_TIMEOUT and input-time", j.State, j.Failure)
	}
	b.nothingLeft(id)
	if j := b.final(b.submit(over(few.String()))); j.State != jobspec.JobSucceeded {
		t.Errorf("control: a job over few blocks = %s %+v", j.State, j.Failure)
	}
}
