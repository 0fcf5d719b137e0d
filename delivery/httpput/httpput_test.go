package httpput_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/delivery/deliverytest"
	"github.com/ipdc/ipdc/delivery/httpput"
)

// server keeps what is put whole and with the right digest.
type server struct {
	mu    sync.Mutex
	files map[string][]byte
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	sum := sha256.Sum256(b)
	switch {
	case r.Method != http.MethodPut || r.Header.Get("Authorization") != "Bearer secret":
		http.Error(w, "who are you?", http.StatusForbidden)
	case err != nil || r.Header.Get("Repr-Digest") != "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":":
		http.Error(w, "damaged", http.StatusBadRequest)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.files[r.URL.Path] = b
		w.WriteHeader(http.StatusCreated)
	}
}

func (s *server) read(path string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.files[path]
	return b, ok
}

var header = http.Header{"Authorization": {"Bearer secret"}}

func TestHTTPPut(t *testing.T) {
	deliverytest.Test(t, func(t *testing.T) deliverytest.Place {
		s := &server{files: map[string][]byte{}}
		h := httptest.NewServer(s)
		t.Cleanup(h.Close)
		return deliverytest.Place{
			Store: httpput.New(httpput.Config{URL: h.URL + "/put", Header: header}),
			Read:  func(path string) ([]byte, bool) { return s.read("/put/" + path) },
		}
	})
}

func TestS30RefusedAndRedirected(t *testing.T) {
	s := &server{files: map[string][]byte{}}
	inner := httptest.NewServer(s)
	defer inner.Close()
	outer := httptest.NewServer(http.RedirectHandler(inner.URL+"/inner", http.StatusTemporaryRedirect))
	defer outer.Close()
	f := deliverytest.File([]byte("x"))
	err := httpput.New(httpput.Config{URL: inner.URL}).Put(t.Context(), "a", f)
	if err == nil || !strings.Contains(err.Error(), "403") || !strings.Contains(err.Error(), "who are you?") {
		t.Errorf("Put without a password = %v, want what the server said", err)
	}
	err = httpput.New(httpput.Config{URL: outer.URL, Header: header}).Put(t.Context(), "a", f)
	if err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("Put where a redirect answers = %v, want a refusal", err)
	}
	if len(s.files) != 0 {
		t.Errorf("the other server got %v", s.files)
	}
	resp, err := http.DefaultClient.Do(redirected(t, outer.URL)) // the control: who follows, sends it there
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("a client that follows = %v, %v", resp, err)
	}
	resp.Body.Close()
}

func redirected(t *testing.T, url string) *http.Request {
	f := []byte("x")
	sum := sha256.Sum256(f)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	req.Header.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
	return req
}

// A server that takes a request and never answers does not hold it for ever.
func TestStall(t *testing.T) {
	release := make(chan struct{})
	h := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer h.Close()
	defer close(release)
	err := httpput.New(httpput.Config{URL: h.URL, Stall: time.Second}).Put(t.Context(), "a", deliverytest.File([]byte("x")))
	if err == nil || !strings.Contains(err.Error(), "nothing moved for 1s") || errors.Is(err, t.Context().Err()) {
		t.Errorf("Put = %v, want that nothing moved", err)
	}
}
