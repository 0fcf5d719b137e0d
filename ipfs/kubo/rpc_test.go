package kubo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

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

// What an earlier process left and cannot be removed is in nobody's way.
func TestOpenBesideALink(t *testing.T) {
	cfg := fake{}.config(t)
	if err := os.Symlink("nothing", filepath.Join(cfg.Dir, ".ipdc-new-1")); err != nil {
		t.Fatal(err)
	}
	if err := durable.Sweep(cfg.Dir); err == nil {
		t.Error("control: Sweep removes a link")
	}
	open(t, cfg)
}

func TestF36LyingKuboIsNotBelieved(t *testing.T) {
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
