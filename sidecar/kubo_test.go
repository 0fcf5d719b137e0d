package sidecar_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipdc/ipdc/executor"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// way is what stands between a node and its Kubo.
type way struct {
	srv    *httptest.Server
	target atomic.Pointer[url.URL] // a Kubo that is started again has another port
	fault  atomic.Pointer[http.HandlerFunc]
	met    atomic.Int64 // calls that a fault met
}

func newWay(t *testing.T, k *testenv.KuboDaemon) *way {
	t.Helper()
	w := &way{}
	w.leadTo(t, k)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(w.target.Load()) },
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	w.srv = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if f := w.fault.Load(); f != nil {
			w.met.Add(1)
			(*f)(rw, r)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		w.heal()
		w.srv.CloseClientConnections()
		w.srv.Close()
	})
	return w
}

func (w *way) leadTo(t *testing.T, k *testenv.KuboDaemon) {
	t.Helper()
	u, err := url.Parse(k.API)
	if err != nil {
		t.Fatal(err)
	}
	w.target.Store(u)
}

func (w *way) breaks(f http.HandlerFunc) { w.met.Store(0); w.fault.Store(&f) }
func (w *way) heal()                     { w.fault.Store(nil) }

// awaitMet waits until the fault has met so many calls.
func (w *way) awaitMet(t *testing.T, n int64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); w.met.Load() < n; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls met the fault, want %d", w.met.Load(), n)
		}
	}
}

// onKubo has a bench keep its blocks in a Kubo.
func onKubo(t *testing.T, w *way) *bench {
	t.Helper()
	b := newBench(t)
	b.stop()
	b.openKubo(w, 0)
	return b
}

// openKubo opens the Kubo in place of what the bench has, with so much patience
// for its answers; 0 is the default.
func (b *bench) openKubo(w *way, answer time.Duration) {
	t := b.t
	t.Helper()
	a, err := kubo.ParseAddr(w.srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	n, err := kubo.Open(t.Context(), kubo.Config{Addr: a, Dir: filepath.Join(b.dir, "kubo"), Owner: "test", Answer: answer})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ipfs.Close(); err != nil {
		t.Fatal(err)
	}
	b.ipfs = n
}

// gone answers nothing, as a Kubo that was killed.
func gone(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// A Kubo that goes or answers nonsense fails no job: before its input is read,
// and when its outputs are to be stored, the job waits, says so, and goes on by
// itself. What needs no Kubo is answered meanwhile.
func TestF34F35F36JobsWaitForKubo(t *testing.T) {
	t.Parallel()
	k := testenv.Kubo(t)
	w := newWay(t, k)
	b := onKubo(t, w)
	input := b.input("a", "b")
	b.openKubo(w, 2*time.Second)
	ends := make(chan chan struct{}, 1)
	b.wrap = func(ex executor.Executor) executor.Executor { return heldEach{ex, ends} }
	b.start()
	over := make(chan struct{}) // a server does not see that a client goes whose body it has not read
	defer close(over)
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
	html := func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(rw, "<html>oops</html>")
	}
	waits := func(j wire.Job) bool {
		return strings.HasPrefix(j.Waiting, "waits: ") || strings.Contains(j.Waiting, "tried again soon")
	}
	for name, fault := range map[string]http.HandlerFunc{"F34 killed": gone, "F35 hangs": hang, "F36 500 and HTML": html} {
		t.Run(name, func(t *testing.T) {
			s := spec("DUMMY_COPY=/inputs:/outputs/in")
			s.Inputs = []jobspec.Input{{CID: input}}
			s.Run.Env["DUMMY_STDOUT"] = name // not remembered
			end := make(chan struct{})
			ends <- end
			w.breaks(fault)
			ref := b.submit(s)
			b.untilJob(ref, "waits before it is run", waits)
			if _, err := b.Jobs(t.Context(), "t", api.JobFilter{}); err != nil {
				t.Errorf("list jobs: %v", err)
			}
			w.heal()
			b.until(ref, jobspec.AttemptRunning)
			w.breaks(fault)
			close(end)
			w.awaitMet(t, 2)
			b.untilJob(ref, "waits with its outputs", waits)
			w.heal()
			if j := b.final(ref); j.State != jobspec.JobSucceeded || len(j.Attempts) != 1 {
				t.Errorf("job = %s after %d attempts, %+v", j.State, len(j.Attempts), j.Failure)
			}
		})
	}
	t.Run("F34 deadline", func(t *testing.T) { // the control: it does not wait for ever
		s := spec("DUMMY_STDOUT=late")
		s.Inputs = []jobspec.Input{{CID: input}}
		s.Timeouts.Run, s.Timeouts.Total = jobspec.Duration(time.Second), jobspec.Duration(2*time.Second)
		w.breaks(gone)
		ref := b.submit(s)
		j := b.untilJob(ref, "ends at its deadline", func(j wire.Job) bool { return j.State.Final() })
		w.heal()
		if j.Failure == nil || j.Failure.Kind != jobspec.KindTimeout {
			t.Errorf("job = %s, %+v, want its timeout", j.State, j.Failure)
		}
	})
}

// heldEach holds each container until its own channel, taken at its creation,
// is closed.
type heldEach struct {
	executor.Executor
	ends chan chan struct{}
}

func (h heldEach) Wait(ctx context.Context, id executor.ID) (executor.Exit, error) {
	select {
	case end := <-h.ends:
		select {
		case <-end:
		case <-ctx.Done():
		}
	default:
	}
	return h.Executor.Wait(ctx, id)
}

// A Kubo that comes back with an empty repository has lost the results. The
// audit finds that, and finds them again once they are back.
func TestF37EmptyRepository(t *testing.T) {
	t.Parallel()
	k := testenv.Kubo(t)
	w := newWay(t, k)
	b := onKubo(t, w)
	b.auditEvery = time.Millisecond
	b.start()
	ref := b.submit(spec("DUMMY_WRITE=/outputs/a:result"))
	b.final(ref)
	swap := func(away, back string) {
		t.Helper()
		k.Stop()
		for _, part := range []string{"blocks", "datastore"} {
			at := filepath.Join(k.Repo, part)
			if err := os.Rename(at, at+away); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(at + back); err == nil {
				err = os.Rename(at+back, at)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		k.Start()
		w.leadTo(t, k)
	}
	swap(".full", ".none")
	j := b.untilJob(ref, "is noticed to be gone", unavailable)
	if !strings.Contains(j.Unavailable, "is not in Kubo") {
		t.Errorf("the record says %q", j.Unavailable)
	}
	swap(".empty", ".full")
	b.untilJob(ref, "is there again", available)
}

// While Kubo collects its garbage all the time, no job loses an input that it
// began with, nor its result.
func TestF38GarbageStorm(t *testing.T) {
	jobs := 4
	if os.Getenv("IPDC_PROVE_LONG") != "" {
		jobs = 200
	}
	k := testenv.Kubo(t)
	w := newWay(t, k)
	b := onKubo(t, w)
	b.start()
	ctx, cancel := context.WithCancel(t.Context())
	var storm sync.WaitGroup
	var rounds atomic.Int64
	storm.Go(func() {
		for ctx.Err() == nil {
			k.Run("repo", "gc", "--silent")
			rounds.Add(1)
		}
	})
	defer storm.Wait()
	defer cancel()
	for i := 0; i < jobs || rounds.Load() < 2; i++ {
		text := fmt.Sprint("input ", i)
		s := spec("DUMMY_COPY=/inputs:/outputs/in")
		s.Inputs = []jobspec.Input{{CID: b.input(text)}}
		ref := b.submit(s)
		b.untilJob(ref, "has its input", func(j wire.Job) bool { return j.State != jobspec.JobAccepted })
		if err := b.ipfs.Unpin(t.Context(), "user/input"); err != nil { // concurrent with the rest of the job
			t.Fatal(err)
		}
		j := b.final(ref)
		if j.State != jobspec.JobSucceeded {
			t.Fatalf("job %d = %s, %+v", i, j.State, j.Failure)
		}
		if _, err := b.ipfs.Verify(t.Context(), j.Result); err != nil {
			t.Errorf("result of job %d: %v", i, err)
		}
	}
}
