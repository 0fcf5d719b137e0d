package kubo_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/jobspec"
)

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

// blocksOf gives what m has.
func blocksOf(m *ipfstest.Memory) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := jobspec.ParseCID(r.URL.Query().Get("arg"))
		if err == nil {
			var data []byte
			if data, err = m.Get(r.Context(), c); err == nil {
				_, err = w.Write(data)
			}
		}
		if err != nil {
			says(500, absent)(w, r)
		}
	}
}
