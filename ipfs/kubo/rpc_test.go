package kubo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
)

func TestParseAddr(t *testing.T) {
	for text, want := range map[string]string{
		"/ip4/127.0.0.1/tcp/5001":             "127.0.0.1:5001",
		"/ip4/127.0.0.1/tcp/5001/http":        "127.0.0.1:5001",
		"/ip6/::1/tcp/5001":                   "[::1]:5001",
		"/dns4/localhost/tcp/5001":            "localhost:5001",
		"/dns/kubo.example/tcp/443/https":     "kubo.example:443",
		"/dns/kubo.example/tcp/443/tls/http":  "kubo.example:443",
		"/unix/run/kubo.sock":                 "/run/kubo.sock",
		"http://127.0.0.1:5001":               "127.0.0.1:5001",
		"http://localhost:5001/":              "localhost:5001",
		"http://[::1]:5001":                   "[::1]:5001",
		"https://kubo.example":                "kubo.example:443",
		"/ip4/192.0.2.1/tcp/5001":             "E_POLICY",
		"http://kubo.example:5001":            "E_POLICY",
		"http://127.0.0.1.example:5001":       "E_POLICY",
		"/dns/localhost.example/tcp/5001":     "E_POLICY",
		"":                                    "E_SPEC",
		"5001":                                "E_SPEC",
		"127.0.0.1:5001":                      "E_SPEC",
		"/ip4/127.0.0.1/udp/5001":             "E_SPEC",
		"/ip4/127.0.0.1/tcp/0":                "E_SPEC",
		"/ip4/127.0.0.1/tcp/65536":            "E_SPEC",
		"/ip4/::1/tcp/5001":                   "E_SPEC",
		"/ip6/127.0.0.1/tcp/5001":             "E_SPEC",
		"/ip4/localhost/tcp/5001":             "E_SPEC",
		"/ip4/127.0.0.1/tcp/5001/p2p/12D3Koo": "E_SPEC",
		"ftp://127.0.0.1":                     "E_SPEC",
		"http://user:secret@127.0.0.1:5001":   "E_SPEC",
		"http://127.0.0.1:5001/api/v0":        "E_SPEC",
	} {
		a, err := kubo.ParseAddr(text)
		got := a.String()
		if err != nil {
			got = string(jobspec.AsFailure(err).Kind)
			if jobspec.AsFailure(err).Hint == "" {
				t.Errorf("ParseAddr(%q): no hint", text)
			}
		}
		if got != want {
			t.Errorf("ParseAddr(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

// fake is a Kubo that answers by the name of the call.
type fake map[string]http.HandlerFunc

func (f fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/api/v0/")
	if r.Method != http.MethodPost {
		http.Error(w, "405 - Method Not Allowed", http.StatusMethodNotAllowed)
	} else if h, ok := f[name]; ok {
		h(w, r)
	} else if name == "version" {
		fmt.Fprint(w, `{"Version":"0.43.0"}`)
	} else {
		http.NotFound(w, r)
	}
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const absent = `{"Message":"block was not found locally (offline): ipld: could not find it","Code":0,"Type":"error"}`

func (f fake) config(t *testing.T) kubo.Config {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	a, err := kubo.ParseAddr(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return kubo.Config{Addr: a, Dir: t.TempDir(), Owner: "test"}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		version http.HandlerFunc
		want    string
	}{
		"too old":       {says(200, `{"Version":"0.39.0"}`), "is of version 0.39.0; 0.40 or later is needed"},
		"no version":    {says(200, `{"Version":"devel"}`), "is of version devel"},
		"a web page":    {says(200, "<html>"), "is no Kubo"},
		"another API":   {says(404, "nothing here"), "has no Kubo RPC"},
		"a gateway":     {says(405, "405"), "has no Kubo RPC"},
		"authorization": {says(403, "Kubo RPC Access Denied"), "refuses version: 403 Forbidden Kubo RPC Access Denied"},
		"too much":      {says(200, strings.Repeat(" ", 2<<20)), "more than 1048576 bytes"},
	} {
		_, err := kubo.Open(t.Context(), fake{"version": c.version}.config(t))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Open = %v, want an error with %q", name, err, c.want)
		}
		if name != "too much" && jobspec.AsFailure(err).Hint == "" {
			t.Errorf("%s: no hint", name)
		}
	}
	open(t, fake{"version": says(200, `{"Version":"0.44.0-dev"}`)}.config(t)) // control

	cfg := fake{}.config(t)
	srv := httptest.NewServer(fake{})
	cfg.Addr, _ = kubo.ParseAddr(srv.URL)
	srv.Close()
	_, err := kubo.Open(t.Context(), cfg)
	if f := jobspec.AsFailure(err); !strings.Contains(f.Hint, "ipfs daemon") || !strings.Contains(f.Detail, cfg.Addr.String()) {
		t.Errorf("Open without a Kubo = %v, hint %q, want its address and how to start it", err, f.Hint)
	}
}

func TestLyingKuboIsNotBelieved(t *testing.T) {
	leaf := []byte("leaf")
	c := sum(leaf)
	for name, tt := range map[string]struct {
		get  http.HandlerFunc
		want jobspec.Kind
	}{
		"other bytes": {says(200, "other"), jobspec.KindBlockHash},
		"no bytes":    {says(200, ""), jobspec.KindBlockHash},
		"too many":    {says(200, strings.Repeat("x", 3<<20)), jobspec.KindLimitBytes},
		"hash error":  {says(500, `{"Message":"block in storage has different hash than requested"}`), jobspec.KindBlockHash},
		"an error":    {says(500, `{"Message":"disk on fire"}`), jobspec.KindInternal},
		"absent":      {says(500, absent), jobspec.KindFetchTimeout},
	} {
		n := open(t, fake{"block/get": tt.get}.config(t))
		if _, err := n.Get(t.Context(), c); jobspec.AsFailure(err).Kind != tt.want {
			t.Errorf("%s: Get = %v, want kind %s", name, err, tt.want)
		}
	}
	n := open(t, fake{"block/get": says(200, "leaf")}.config(t))
	if data, err := n.Get(t.Context(), c); err != nil || string(data) != "leaf" {
		t.Errorf("control: Get = %q, %v", data, err)
	}

	pinned := `{"Root":{"Cid":{"/":"%s"},"PinErrorMsg":""}}` + "\n"
	for name, answer := range map[string]string{
		"nothing":           "",
		"another root":      fmt.Sprintf(pinned, c) + `{"Stats":{"BlockCount":2}}`,
		"not all blocks":    `{"Stats":{"BlockCount":1}}`,
		"a pin that failed": `{"Root":{"Cid":{"/":"x"},"PinErrorMsg":"no"}}{"Stats":{"BlockCount":2}}`,
		"no JSON":           "ok",
	} {
		var unpins atomic.Int64
		n := open(t, fake{
			"dag/import": says(200, answer),
			"pin/rm": func(w http.ResponseWriter, r *http.Request) {
				unpins.Add(1)
				fmt.Fprint(w, `{"Pins":["x"]}`)
			},
		}.config(t))
		_, err := n.Add(t.Context(), "p", func(s ipfs.Session) (jobspec.CID, error) { return c, s.Put(t.Context(), c, leaf) })
		if list, perr := n.Pins(t.Context(), ""); err == nil || perr != nil || len(list) > 0 {
			t.Errorf("%s: Add = %v, pins %v, %v, want an error and none", name, err, list, perr)
		}
		if unpins.Load() != 1 {
			t.Errorf("%s: %d calls of pin/rm, want 1", name, unpins.Load())
		}
	}
}

// A block that nobody has is waited for as long as was said, and who waits for
// one does not keep others from what is here.
func TestFetchIsBounded(t *testing.T) {
	here := []byte("here")
	waiting := make(chan struct{}, 100)
	cfg := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("arg") == sum(here).String():
			_, _ = w.Write(here)
		case q.Get("offline") == "true":
			says(500, absent)(w, r)
		default:
			waiting <- struct{}{}
			<-r.Context().Done() // as Kubo does while it asks its peers
		}
	}}.config(t)
	cfg.Fetch = 50 * time.Millisecond
	_, err := open(t, cfg).Get(t.Context(), sum([]byte("absent")))
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(err.Error(), "50ms") {
		t.Errorf("Get = %v, want E_FETCH_TIMEOUT after 50ms", err)
	}

	cfg.Fetch, cfg.Dir = time.Hour, t.TempDir()
	n := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var fetches errgroup.Group
	for i := range 64 {
		fetches.Go(func() error {
			_, err := n.Get(ctx, sum(fmt.Appendf(nil, "absent %d", i)))
			return err
		})
	}
	for range 17 { // one of the first node, and as many as may wait at a time
		<-waiting
	}
	if data, err := n.Get(ctx, sum(here)); err != nil || string(data) != "here" {
		t.Errorf("Get of what is here meanwhile = %q, %v", data, err)
	}
	cancel()
	if err := fetches.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Get after its context ended = %v, want context.Canceled", err)
	}
}

// remote is a Kubo without blocks whose peers have all of m.
func remote(m *ipfstest.Memory, fetched *atomic.Int64) fake {
	return fake{
		"block/stat": says(500, absent),
		"block/get": func(w http.ResponseWriter, r *http.Request) {
			c, err := jobspec.ParseCID(r.URL.Query().Get("arg"))
			var data []byte
			if err == nil {
				data, err = m.Get(r.Context(), c)
			}
			if err != nil || r.URL.Query().Get("offline") == "true" {
				says(500, absent)(w, r)
				return
			}
			fetched.Add(1)
			_, _ = w.Write(data)
		},
	}
}

// A DAG larger than the node takes is not fetched into the user's Kubo to its
// end, nor is one when the disk is full.
func TestFetchedDAGIsBounded(t *testing.T) {
	m := ipfstest.NewMemory()
	root, size, err := pack.File(t.Context(), m, io.LimitReader(rand.NewChaCha8([32]byte{}), 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	full := jobspec.KindLimit.Errorf("the disk is full")
	for name, c := range map[string]struct {
		max  int64
		room error
		want jobspec.Kind
		most int64 // blocks fetched
	}{
		"too large": {8 << 20, nil, jobspec.KindLimitBytes, 40},
		"no room":   {0, full, jobspec.KindLimit, 0},
		"control":   {2 * size, nil, jobspec.KindInternal, 1000}, // fails at dag/import
		"default":   {0, nil, jobspec.KindInternal, 1000},
	} {
		var fetched atomic.Int64
		cfg := remote(m, &fetched).config(t)
		cfg.MaxBytes = c.max
		cfg.Room = func(context.Context, int64) error { return c.room }
		err := open(t, cfg).Pin(t.Context(), "p", root)
		f := jobspec.AsFailure(err)
		if f.Kind != c.want || fetched.Load() > c.most {
			t.Errorf("%s: Pin = %v after %d blocks, want %s after %d at most", name, err, fetched.Load(), c.want, c.most)
		}
		if c.want == jobspec.KindLimitBytes && (!strings.Contains(f.Detail, "8MiB") || !strings.Contains(f.Hint, "--input-bytes")) {
			t.Errorf("%s: %+v lacks the number or the setting", name, f)
		}
		if c.want == jobspec.KindInternal && fetched.Load() < 64 {
			t.Errorf("%s: %d blocks were fetched, want all", name, fetched.Load())
		}
	}

	// What Kubo has already is pinned, however large.
	have := fake{"block/get": func(w http.ResponseWriter, r *http.Request) {
		c, _ := jobspec.ParseCID(r.URL.Query().Get("arg"))
		data, _ := m.Get(r.Context(), c)
		_, _ = w.Write(data)
	}, "block/stat": says(200, `{"Size":1048576}`)}.config(t)
	have.MaxBytes = 1
	if err := open(t, have).Pin(t.Context(), "p", root); jobspec.AsFailure(err).Kind != jobspec.KindInternal {
		t.Errorf("Pin of what is there = %v, want the failure of dag/import", err)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: listener, Config: &http.Server{Handler: fake{"block/get": says(200, "leaf")}}}
	srv.Start()
	t.Cleanup(srv.Close)
	a, err := kubo.ParseAddr("/unix" + path)
	if err != nil {
		t.Fatal(err)
	}
	n := open(t, kubo.Config{Addr: a, Dir: t.TempDir(), Owner: "test"})
	if _, err := n.Get(t.Context(), sum([]byte("leaf"))); err != nil {
		t.Error(err)
	}
	if want := "Kubo 0.43.0 at " + path; n.String() != want {
		t.Errorf("String() = %q, want %q", n, want)
	}
}

// An import that nobody waits for may still end in a pin. The pin is taken off
// once it shows, and not asked for again.
func TestPinThatComesLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var late atomic.Bool
	var unpins atomic.Int64
	n := open(t, fake{
		"dag/import": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cancel()
			<-r.Context().Done()
		},
		"pin/rm": func(w http.ResponseWriter, r *http.Request) {
			unpins.Add(1)
			if !late.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, `{"Message":"not pinned or pinned indirectly"}`)
				return
			}
			fmt.Fprint(w, `{"Pins":["x"]}`)
		},
	}.config(t))
	leaf := []byte("leaf")
	_, err := n.Add(ctx, "p", func(s ipfs.Session) (jobspec.CID, error) { return sum(leaf), s.Put(ctx, sum(leaf), leaf) })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Add = %v, want context.Canceled", err)
	}
	late.Store(true)
	for range 2 {
		if _, err := n.GC(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := unpins.Load(); got != 2 {
		t.Errorf("%d calls of pin/rm, want one that found nothing and one that found the pin", got)
	}
}
