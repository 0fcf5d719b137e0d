package e2e

import (
	"compress/gzip"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// hosts serves a handler for each of some addresses of this machine.
type hosts struct {
	t    *testing.T
	next byte

	mu  sync.Mutex
	log []string // host:port and path of each question
}

// add returns host:port of one more host.
func (h *hosts) add(answer http.HandlerFunc) string {
	h.t.Helper()
	h.next++
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.1.%d:0", h.next))
	if err != nil {
		h.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.log = append(h.log, r.Host+r.URL.Path)
		h.mu.Unlock()
		w.Header().Set("Content-Type", "text/html")
		answer(w, r)
	}))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	h.t.Cleanup(srv.Close)
	return l.Addr().String()
}

// times counts the questions that begin so.
func (h *hosts) times(prefix string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.log {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// Sites that are broken, endless or against it cost themselves only.
func TestCrawlOfUnwellSites(t *testing.T) {
	h := &hosts{t: t}
	noRobots := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/robots.txt" {
				http.NotFound(w, r)
				return
			}
			then(w, r)
		}
	}
	broken := h.add(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "out of order", http.StatusInternalServerError)
	})
	away := h.add(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+broken+"/robots.txt", http.StatusFound)
	})
	hostile := h.add(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/robots.txt" { // an expression that never ends, for who makes one of it
			fmt.Fprintf(w, "User-agent: *\nDisallow: /%sb\nDisallow: /no\n", strings.Repeat("a*", 200))
			return
		}
		fmt.Fprintf(w, "<a href='/%s'>x</a><a href='/no'>x</a><a href='/hidden' rel=nofollow>x</a><a href='http://["+"'>x</a>\x00<"+"<a href", strings.Repeat("a", 1500))
	})
	endless := h.add(noRobots(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "<a href='%s0/'>more</a><a href='%s1/'>more</a>", r.URL.Path, r.URL.Path)
	}))
	var busy sync.Once
	circles := h.add(noRobots(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/":
			first := false
			if busy.Do(func() { first = true }); first {
				w.Header().Set("Retry-After", "0")
				http.Error(w, "later", http.StatusServiceUnavailable)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			fmt.Fprint(z, "<a href='/loop'>x</a><a href='/steps/'>x</a>")
			z.Close()
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/pool", http.StatusFound)
		case r.URL.Path == "/pool":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}
	}))
	many := h.add(noRobots(func(w http.ResponseWriter, r *http.Request) { // the first 10,000 of its links are looked at
		if r.URL.Path != "/" {
			return
		}
		fmt.Fprint(w, strings.Repeat("<a href=/>", 9_999), "<a href=/in>", strings.Repeat("<a href=/>", 600_000), "<a href=/out>")
	}))
	all := []string{away, hostile, endless, circles, many}
	n := newCrawlNode(t)
	out := filepath.Join(t.TempDir(), "out")
	r := n.ipdcIn("http://"+strings.Join(all, "/\nhttp://")+"/\n", "cl", "crawl", "-", "--depth", "100", "--per-host", "200",
		"--max-pages", "60", "--network", strings.Join(all, ","), "--out", out)
	if r.code != 0 {
		t.Fatalf("crawl: %+v", r)
	}
	pages := readCrawl(t, out)
	if p := pages["http://"+away+"/"]; !strings.HasPrefix(p.Error, "no robots.txt: ") || h.times(away) != 1 || h.times(broken) != 0 {
		t.Errorf("a robots.txt elsewhere: %+v after %d requests and %d there, want one and none", p, h.times(away), h.times(broken))
	}
	if p := pages["http://"+hostile+"/"+strings.Repeat("a", 1500)]; p.Status != http.StatusOK || h.times(hostile+"/no") != 0 || h.times(hostile+"/hidden") != 0 {
		t.Errorf("hostile rules: %+v", p)
	}
	if p := pages["http://"+circles+"/"]; p.Status != http.StatusOK || h.times(circles+"/steps") != 11 || h.times(circles+"/loop") != 1 || h.times(circles+"/pool") != 1 {
		t.Errorf("redirects: %+v, %d steps, want 11, and each of a circle once", p, h.times(circles+"/steps"))
	}
	if p := pages["http://"+many+"/in"]; p.Status != http.StatusOK || h.times(many+"/out") != 0 {
		t.Errorf("a page of 610,000 links: %+v and %d requests for the last, want the 10,000th link and not that", p, h.times(many+"/out"))
	}
	if got := len(pages); got > 62 || h.times(endless) > 60 { // 60, and what is disallowed
		t.Errorf("an endless site: %d pages in all, %d requests, want no more than 60", got, h.times(endless))
	}
	if logs := n.ipdc("job", "logs", "@last"); !strings.Contains(logs.stdout+logs.stderr, "there are 60 pages (--max-pages)") {
		t.Errorf("the log does not say why the crawl ended: %s", logs.stdout+logs.stderr)
	}

	// The 500s of a host alone: nothing of it is fetched, and the job says why.
	r = n.ipdcIn("http://"+broken+"/\n", "cl", "crawl", "-", "--per-host", "200", "--network", broken)
	if r.code != 6 || !strings.Contains(r.stderr, "no robots.txt: 500 out of order") || h.times(broken+"/robots.txt") != h.times(broken) {
		t.Errorf("a broken host: %+v after %v", r, h.log)
	}
}
