package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crawlerImage builds the image that crawls run in, unless the engine has it.
var crawlerImage = sync.OnceValue(func() error {
	dir, err := binaries()
	if err != nil {
		return err
	}
	if out, err := exec.Command(filepath.Join(dir, "ipdc"), "image", "build", "crawler").CombinedOutput(); err != nil {
		return fmt.Errorf("build the image crawler: %w\n%s", err, out)
	}
	return nil
})

func newCrawlNode(t *testing.T, args ...string) *node {
	t.Helper()
	n := newNode(t, append(args, "--network-allow-private", "127.0.0.0/8")...)
	if err := crawlerImage(); err != nil {
		t.Fatal(err)
	}
	return n
}

// crawled is a line of an index, with what the record says.
type crawled struct {
	URL         string
	Status      int
	Digest      string
	Warc        string
	Offset      int64
	Skipped     string
	Error       string
	Time        string
	DuplicateOf string `json:"duplicate_of"`

	kind string // of the record
	body string
}

// readCrawl reads the indexes and the records of a crawl.
func readCrawl(t *testing.T, dir string) map[string]crawled {
	t.Helper()
	pages, all := map[string]crawled{}, files(t, dir)
	for name, text := range all {
		if filepath.Base(name) != "index.jsonl" {
			continue
		}
		for line := range strings.Lines(text) {
			var p crawled
			if err := json.Unmarshal([]byte(line), &p); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if p.Warc != "" {
				p.kind, p.body = readRecord(t, all[filepath.Join(filepath.Dir(name), p.Warc)][p.Offset:], p.URL, p.Time)
			}
			pages[p.URL] = p
		}
	}
	for _, p := range pages {
		if p.DuplicateOf != "" {
			p.body = pages[p.DuplicateOf].body
			pages[p.URL] = p
		}
		if sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(p.body))); p.Warc != "" && sum != p.Digest {
			t.Errorf("the record of %s has the content %s, want %s", p.URL, sum, p.Digest)
		}
	}
	return pages
}

// readRecord reads the WARC record at the beginning of a file: its type, and
// the body of the answer that it holds.
func readRecord(t *testing.T, file, url, date string) (kind, body string) {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(file))
	if err != nil {
		t.Fatalf("record of %s: %v", url, err)
	}
	z.Multistream(false)
	in := bufio.NewReader(z)
	version, err := in.ReadString('\n')
	head, herr := textproto.NewReader(in).ReadMIMEHeader()
	if err := errors.Join(err, herr); err != nil || version != "WARC/1.1\r\n" || head.Get("Warc-Target-Uri") != url || head.Get("Warc-Date") != date {
		t.Fatalf("record of %s: %q, %v, %v", url, version, head, err)
	}
	block, err := io.ReadAll(in)
	if err != nil || head.Get("Content-Length") != fmt.Sprint(len(block)-4) {
		t.Fatalf("record of %s: %d bytes, %v, want %s and 4", url, len(block), err, head.Get("Content-Length"))
	}
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(block[:len(block)-4])), nil)
	if err != nil {
		t.Fatalf("record of %s: %v", url, err)
	}
	defer answer.Body.Close()
	content, _ := io.ReadAll(answer.Body) // a revisit's is left out
	return head.Get("Warc-Type"), string(content)
}

// logOf returns the questions to one host.
func logOf(log []asked, host string) (list []asked) {
	for _, l := range log {
		if l.host == host {
			list = append(list, l)
		}
	}
	return list
}

// A site is crawled within its robots.txt and its rates, by its own log; the
// next crawl fetches what changed, and nothing else.
func TestCrawl(t *testing.T) {
	parallel(t)
	site := newCrawlSite(t)
	n := newCrawlNode(t)
	seeds := write(t, t.TempDir(), "seeds.txt", fmt.Sprintf("# two hosts\nhttp://%s/\nhttp://%s/\nHTTP://LOCALHOST%s/#again\n",
		site.big, site.slow, strings.TrimPrefix(site.big, "localhost")))
	crawl := func(rate int, args ...string) (string, map[string]crawled) {
		out := filepath.Join(t.TempDir(), "out")
		cid := n.ok(append([]string{
			"cl", "crawl", seeds, "--depth", "4", "--per-host", fmt.Sprint(rate), "-k", "2", "--max-page", "1MiB",
			"--network", site.big + "," + site.slow, "--out", out,
		}, args...)...)
		return cid, readCrawl(t, out)
	}

	_, pages := crawl(100)
	log := site.take()
	counts := map[string]int{}
	for _, l := range log {
		counts[l.host+l.path]++
		if strings.Contains(l.path, "/private/") || strings.HasSuffix(l.path, ".cgi") {
			t.Errorf("%s was asked for, which robots.txt forbids", l.path)
		}
	}
	for url, times := range counts {
		want := 1
		if url == site.slow+"/b" {
			want = 2 // after 503
		}
		if times != want {
			t.Errorf("%s was asked for %d times, want %d", url, times, want)
		}
	}
	if site.most > 1 {
		t.Errorf("a host was asked %d things at a time, want one", site.most)
	}
	if why := early(logOf(log, site.big), 10*time.Millisecond, time.Second); why != "" {
		t.Errorf("at 100 a second %s", why)
	}
	slow := logOf(log, site.slow)
	if len(slow) != 5 {
		t.Fatalf("%d requests to the slow host, want 5: %v", len(slow), slow)
	}
	if why := early(slow[:4], time.Second, 900*time.Millisecond); why != "" {
		t.Errorf("with a Crawl-delay of 1 s %s", why)
	}
	if why := early(slow[3:], 4*time.Second, 2*time.Second); why != "" {
		t.Errorf("with a Retry-After of 4 s %s", why)
	}
	t.Run("pages", func(t *testing.T) { site.check(t, pages) })
	sums := map[string]int64{}
	for _, a := range n.job("@last").Attempts {
		for name, count := range a.Counters {
			sums[name] += count
		}
	}
	// Both hosts: /, those of /p, two redirects, /slow; and three.
	if sums["crawl.new"] != 1+crawlPages+3+3 || sums["crawl.disallowed"] != 10 || sums["crawl.failed"] != 1 {
		t.Errorf("the record counts %v", sums)
	}

	site.mu.Lock()
	site.changed[5], site.changed[44], site.changed[333] = true, true, true
	site.mu.Unlock()
	_, again := crawl(1000, "--since", "@last")
	var bodies []string
	for _, l := range logOf(site.take(), site.big) {
		if l.bytes > 0 && l.path != "/robots.txt" {
			bodies = append(bodies, l.path)
		}
	}
	want := []string{"/large", "/p/333", "/p/5", "/slow"} // 44 has only a date, which is as it was
	for i := 3; i < crawlPages; i += 10 {
		if path := fmt.Sprintf("/p/%d", i); !slices.Contains(want, path) {
			want = append(want, path) // these have nothing to ask by
		}
	}
	slices.Sort(want)
	if slices.Sort(bodies); !slices.Equal(bodies, want) {
		t.Errorf("the second crawl fetched %v, want %v", bodies, want)
	}
	for url, p := range again {
		before, path := pages[url], strings.TrimPrefix(url, "http://"+site.big)
		if changed := path == "/p/5" || path == "/p/333"; (p.Digest != before.Digest) != changed || (p.Time == before.Time) == changed && p.Time != "" {
			t.Errorf("%s: %+v, before %+v", url, p, before)
		}
	}
	if len(again) != len(pages) {
		t.Errorf("the second crawl has %d pages, the first %d", len(again), len(pages))
	}
}

// check compares what was crawled with the site.
func (s *crawlSite) check(t *testing.T, pages map[string]crawled) {
	kinds := map[string]int{}
	for i := range crawlPages {
		url := fmt.Sprintf("http://%s/p/%d", s.big, i)
		p := pages[url]
		if p.Status != http.StatusOK || p.body != s.text(i) {
			t.Errorf("%s is %+v, want its text", url, p)
		}
		kinds[p.kind]++
	}
	// Pages 100 to 350 of each 50 have the text of page 50, and "/" that of /p/0.
	if kinds["revisit"] < 6 || kinds["revisit"] > 7 || kinds["response"]+kinds["revisit"] != crawlPages {
		t.Errorf("records by type: %v, want 6 or 7 revisits", kinds)
	}
	for path, want := range map[string]crawled{
		"/private/1": {Skipped: "robots.txt"}, "/x2.cgi": {Skipped: "robots.txt"}, "/go/out": {Status: http.StatusFound},
		"/go/in": {Status: http.StatusMovedPermanently}, "/slow": {Status: http.StatusOK}, "/large": {Error: "larger than 1048576 bytes (--max-page)"},
	} {
		if p := pages["http://"+s.big+path]; p.Skipped != want.Skipped || p.Status != want.Status || p.Error != want.Error {
			t.Errorf("%s is %+v, want %+v", path, p, want)
		}
	}
	if p := pages["http://"+s.slow+"/b"]; p.body != "a page" {
		t.Errorf("/b of the slow host is %+v", p)
	}
	// In all: /, those of /p, private and cgi, the six others; and three.
	if want := 1 + crawlPages + 10 + 4 + 3; len(pages) != want {
		t.Errorf("%d URLs, want %d", len(pages), want)
	}
}

// A site whose certificate the host's authorities vouch for is crawled; one
// that did not change gives the same CID again. Without them, and where private
// addresses are not allowed, the crawl fails with what is wrong.
func TestCrawlOfASecureSite(t *testing.T) {
	parallel(t)
	addr, ca := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			fmt.Fprint(w, "<html><a href=two>two</a><a href=https://elsewhere.test/x>there</a>")
		case "/two":
			fmt.Fprint(w, "second")
		default:
			http.NotFound(w, r)
		}
	})
	seeds := "https://" + addr + "\n"
	args := []string{"cl", "crawl", "-", "--per-host", "50", "--network", addr}
	n := newCrawlNode(t, "--ca-file", ca)
	first := n.ipdcIn(seeds, args...)
	again := n.ipdcIn(seeds, append(args, "--since", strings.TrimSpace(first.stdout))...)
	if !strings.Contains(first.stderr, "2 pages new, 0 unchanged; 0 that robots.txt disallows, 0 failed") || !strings.Contains(again.stderr, "0 pages new, 2 unchanged") {
		t.Errorf("what the crawls are said to have found: %s\n%s", first.stderr, again.stderr)
	}
	if first.code != 0 || again.code != 0 || first.stdout != again.stdout {
		t.Errorf("two crawls of a site that did not change: %+v, %+v", first, again)
	}
	out := filepath.Join(t.TempDir(), "out")
	n.ok("get", strings.TrimSpace(first.stdout), out)
	if p := readCrawl(t, out)["https://"+addr+"/two"]; p.Status != http.StatusOK || p.body != "second" {
		t.Errorf("/two is %+v", p)
	}
	if got := files(t, out)["127.0.0.2/elsewhere.txt"]; got != "https://elsewhere.test/x\n" {
		t.Errorf("elsewhere.txt is %q", got)
	}

	bare := newCrawlNode(t)
	if r := bare.ipdcIn(seeds, args...); r.code != 6 || !strings.Contains(r.stderr, "certificate verify failed") {
		t.Errorf("control: without the authority: %+v", r)
	}
	bare.kill()
	bare.args = nil
	bare.start()
	named := strings.Replace(addr, "127.0.0.2", "localhost", 1)
	if r := bare.ipdcIn("https://"+named, "cl", "crawl", "-", "--network", named); r.code != 6 || !strings.Contains(r.stderr, "--network-allow-private") {
		t.Errorf("a private address: %+v, want a refusal that names the setting", r)
	}
}
