package e2e

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crawlPages is the size of the site that is crawled.
const crawlPages = 500

// asked is a line of the site's log.
type asked struct {
	at     time.Time
	host   string // name and port
	path   string
	status int
	bytes  int // of the body
}

// crawlSite is a site of two hosts, which keeps a log: localhost has many pages
// in three levels, 127.0.0.1 has few, asks for a delay, and is busy once.
type crawlSite struct {
	*httptest.Server
	big, slow string // host:port

	mu      sync.Mutex
	log     []asked
	changed map[int]bool // pages with another text than at first
	busy    map[string]*atomic.Int32
	most    int32 // requests of one host at once
	tired   bool  // has answered 503, as it does once
}

func newCrawlSite(t *testing.T) *crawlSite {
	s := &crawlSite{changed: map[int]bool{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.slow = strings.TrimPrefix(s.URL, "http://")
	s.big = strings.Replace(s.slow, "127.0.0.1", "localhost", 1)
	s.busy = map[string]*atomic.Int32{s.big: {}, s.slow: {}}
	return s
}

// take returns the log since the last take.
func (s *crawlSite) take() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

// text is what page i holds: every 50th page has the text of page 50.
func (s *crawlSite) text(i int) string {
	if i > 50 && i%50 == 0 && i < 400 {
		i = 50
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<html><title>%d</title>%s", i, strings.Repeat("words ", i%40))
	for child := i*8 + 1; child <= i*8+8 && child < crawlPages; child++ {
		fmt.Fprintf(&b, "<a href='/p/%d#top'>child</a> ", child)
	}
	fmt.Fprintf(&b, "<a href='/'>home</a> <a href='../p/%d'>sibling</a> <a href='/private/%d'>no</a> <a href='/x%d.cgi'>no</a>", (i+1)%crawlPages, i%5, i%5)
	if i == 0 {
		fmt.Fprintf(&b, "<a href='/go/out'>out</a> <a href='/go/in'>in</a> <a href='/slow'>slow</a> <a href='/large'>large</a> <a href='mailto:a@b'>me</a> <a href='http://elsewhere.test/page'>there</a>")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed[i] {
		b.WriteString("changed")
	}
	return b.String()
}

// ServeHTTP answers, and logs when the question came.
func (s *crawlSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line := asked{at: time.Now(), host: r.Host, path: r.URL.Path, status: http.StatusOK}
	running := s.busy[r.Host].Add(1)
	body, head := s.page(r)
	line.status = max(line.status, head.status)
	for name, value := range head.fields {
		w.Header().Set(name, value)
	}
	if line.status == http.StatusNotModified {
		body = ""
	}
	line.bytes = len(body)
	s.mu.Lock()
	s.log = append(s.log, line)
	s.most = max(s.most, running)
	s.mu.Unlock()
	// Before the answer: the next question may come with its last byte.
	s.busy[r.Host].Add(-1)
	w.WriteHeader(line.status)
	fmt.Fprint(w, body)
}

type crawlHead struct {
	status int
	fields map[string]string
}

func (s *crawlSite) page(r *http.Request) (body string, head crawlHead) {
	head.fields = map[string]string{"Content-Type": "text/html; charset=utf-8"}
	if r.Host == s.slow {
		return s.slowPage(r.URL.Path)
	}
	i := 0
	switch path := r.URL.Path; {
	case path == "/robots.txt":
		return "User-agent: *\nDisallow: /private/\nDisallow: /*.cgi$\n", head
	case path == "/go/out":
		return "", crawlHead{http.StatusFound, map[string]string{"Location": "http://elsewhere.test/"}}
	case path == "/go/in":
		return "", crawlHead{http.StatusMovedPermanently, map[string]string{"Location": "/p/7"}}
	case path == "/slow":
		time.Sleep(200 * time.Millisecond) // a page that takes long
		return "slow", head
	case path == "/large":
		return strings.Repeat("x", 2<<20), head
	case path == "/":
	default:
		if n, err := fmt.Sscanf(path, "/p/%d", &i); n != 1 || err != nil || i >= crawlPages {
			return "not here", crawlHead{status: http.StatusNotFound}
		}
	}
	body = s.text(i)
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(body)))
	date := "Mon, 02 Nov 2026 10:00:00 GMT"
	same := false
	switch {
	case i%10 == 3: // neither
	case i%10 == 4:
		head.fields["Last-Modified"] = date
		same = r.Header.Get("If-Modified-Since") == date
	default:
		head.fields["ETag"] = tag
		same = r.Header.Get("If-None-Match") == tag
	}
	if same {
		head.status = http.StatusNotModified
	}
	return body, head
}

func (s *crawlSite) slowPage(path string) (string, crawlHead) {
	html := crawlHead{fields: map[string]string{"Content-Type": "text/html"}}
	switch path {
	case "/robots.txt":
		return "User-agent: *\nCrawl-delay: 1\n", html
	case "/":
		return "<a href=/a>a</a>", html
	case "/a":
		return "<a href=/b>b</a>", html
	case "/b":
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.tired {
			s.tired = true
			return "", crawlHead{http.StatusServiceUnavailable, map[string]string{"Retry-After": "4"}}
		}
		return "a page", html
	}
	return "", crawlHead{status: http.StatusNotFound}
}

// early says whether the pages of a log were asked for in less time than a
// delay between them takes, or "". Only the first and the last one count: no
// other that was held up on its way matters. robots.txt does not: a cold start
// holds it up.
func early(log []asked, delay, slack time.Duration) string {
	pages := slices.DeleteFunc(slices.Clone(log), func(l asked) bool { return l.path == "/robots.txt" })
	if len(pages) < 2 {
		return fmt.Sprintf("there are %d pages, want more", len(pages))
	}
	got, want := pages[len(pages)-1].at.Sub(pages[0].at), time.Duration(len(pages)-1)*delay
	if got < want-slack {
		return fmt.Sprintf("%d pages came in %v, want %v", len(pages), got, want)
	}
	return ""
}

func TestEarly(t *testing.T) {
	var steady, hasty []asked
	for i := range 200 {
		steady = append(steady, asked{at: time.Unix(0, int64(i)*int64(10*time.Millisecond))})
		hasty = append(hasty, asked{at: time.Unix(0, int64(i)*int64(4*time.Millisecond))})
	}
	steady[20].at = steady[30].at // held up
	slices.SortStableFunc(steady, func(a, b asked) int { return a.at.Compare(b.at) })
	if why := early(steady, 10*time.Millisecond, time.Second); why != "" {
		t.Errorf("a steady log: %s", why)
	}
	if why := early(hasty, 10*time.Millisecond, time.Second); why == "" {
		t.Error("a log of 250 a second passes for 100")
	}
}
