package crawl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/crawl"
)

func TestReadSeeds(t *testing.T) {
	seeds, err := crawl.ReadSeeds(strings.NewReader(`# my sites
https://Example.org
https://example.org:443/#top

http://example.org/a b?q=1
example.org/a
http://[::1]:8080/x
https://example.org/a`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range seeds {
		got = append(got, s.URL+" "+s.Host.String())
	}
	want := []string{
		"https://example.org/ example.org:443", "http://example.org/a%20b?q=1 example.org:80",
		"https://example.org/a example.org:443", "http://[::1]:8080/x [::1]:8080",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seeds (-want +got):\n%s", diff)
	}
}

func TestReadSeedsRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"none", "\n# only this\n", "no URL"},
		{"scheme", "https://a.org\nftp://b.org/", `line 2: "ftp://b.org/" is neither http nor https`},
		{"user", "https://me:secret@a.org/", "has a user name"},
		{"wildcard", "https://*.a.org/", "names are letters"},
		{"not ASCII", "https://bücher.de/", "xn--"},
		{"odd address", "http://127.1/", "looks like an address"},
		{"port", "http://a.org:99999/", "port"},
		{"long", "http://a.org/" + strings.Repeat("x", 2000), "at most 2000"},
		{"long when escaped", "http://a.org/?" + strings.Repeat("ü", 400), "at most 2000"},
		{"long line", strings.Repeat("x", 70<<10), "as lines"},
		{"all at once", "ftp://a/\nftp://b/", "line 2"},
	} {
		_, err := crawl.ReadSeeds(strings.NewReader(c.text))
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindSpec || !strings.Contains(f.Detail, c.want) || strings.Contains(f.Detail, "secret") {
			t.Errorf("%s: %v, want E_SPEC with %q", c.name, err, c.want)
		}
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	seeds := seedsOf(t, "https://a.org/")
	good := crawl.Options{Depth: 1, Rate: 1, Network: []string{"a.org:443"}}
	if _, err := crawl.Slices(seeds, good); err != nil {
		t.Fatalf("control: %v", err)
	}
	for where, spoil := range map[string]func(*crawl.Options){
		"--depth":      func(o *crawl.Options) { o.Depth = -1 },
		"--per-host":   func(o *crawl.Options) { o.Rate = 0 },
		"-k":           func(o *crawl.Options) { o.Slices = 33 },
		"--max-pages":  func(o *crawl.Options) { o.Pages = 100_001 },
		"--max-page":   func(o *crawl.Options) { o.PageSize = 1 },
		"--user-agent": func(o *crawl.Options) { o.Agent = "a\r\nHost: b" },
	} {
		o := good
		spoil(&o)
		_, err := crawl.Slices(seeds, o)
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindSpec || f.Where != where {
			t.Errorf("%s: %v, want E_SPEC", where, err)
		}
	}
}

// What is not granted is refused with what would grant it, ready to paste.
func TestUngrantedSeeds(t *testing.T) {
	seeds := seedsOf(t, "https://b.org/", "http://a.org/x", "https://b.org/y")
	for _, c := range []struct{ network, hint string }{
		{"", "give --network a.org:80,b.org:443"},
		{"c.org:443", "give --network a.org:80,b.org:443,c.org:443"},
		{"a.org:80,b.org:80", "give --network a.org:80,b.org:443,b.org:80"},
	} {
		o := crawl.Options{Rate: 1}
		if c.network != "" {
			o.Network = strings.Split(c.network, ",")
		}
		_, err := crawl.Slices(seeds, o)
		if f := jobspec.AsFailure(err); f.Kind != jobspec.KindSpec || f.Where != "--network" || f.Hint != c.hint {
			t.Errorf("--network %q: %v, hint %q, want %q", c.network, err, f.Hint, c.hint)
		}
		o.Network = strings.Split(strings.TrimPrefix(c.hint, "give --network "), ",")
		if _, err := crawl.Slices(seeds, o); err != nil {
			t.Errorf("what the hint says is refused: %v", err)
		}
	}
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf("https://h%d.org/", i))
	}
	if _, err := crawl.Slices(seedsOf(t, many...), crawl.Options{Rate: 1}); !strings.Contains(jobspec.AsFailure(err).Hint, "at most 32") {
		t.Errorf("33 hosts: %v, want the limit", err)
	}
}

type slice struct{ Hosts, Grants, Seeds []string }

// Whatever the seeds: each host is in one slice with all of its seeds, and with
// what its site has.
func TestSlices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`(www\.|docs\.)?[a-e]\.org|10\.0\.0\.[1-3]`), 1, 12, rapid.ID[string]).Draw(t, "hosts")
		var network, urls []string
		for i, n := range names {
			network = append(network, n+":443")
			for j := range rapid.IntRange(0, 3).Draw(t, "seeds") {
				urls = append(urls, fmt.Sprintf("https://%s/%d-%d", n, i, j))
			}
		}
		if len(urls) == 0 {
			return
		}
		o := crawl.Options{Rate: 1, Network: network, Slices: rapid.IntRange(1, 5).Draw(t, "k")}
		list, err := crawl.Slices(seedsOf(t, urls...), o)
		if err != nil || len(list) == 0 || len(list) > o.Slices {
			t.Fatalf("%d slices, %v, want 1 to %d", len(list), err, o.Slices)
		}
		at, seeds := map[string]string{}, 0
		for _, s := range list {
			var p slice
			b, err := s.JSON()
			if err != nil || json.Unmarshal(b, &p) != nil {
				t.Fatalf("%s: %v", b, err)
			}
			for i, h := range p.Hosts {
				if at[h] != "" {
					t.Fatalf("%s is in slices %s and %s", h, at[h], s.Name)
				}
				if at[h] = s.Name; p.Grants[i] == "" {
					t.Fatalf("%s has no grant in %s", h, b)
				}
			}
			for _, u := range p.Seeds {
				if h := strings.Split(u, "/")[2]; at[h] != s.Name {
					t.Fatalf("%s is in slice %s, its host in %s", u, s.Name, at[h])
				}
			}
			if len(p.Seeds) == 0 || len(p.Grants) != len(p.Hosts) {
				t.Fatalf("slice %s has no seeds, or not its grants: %s", s.Name, b)
			}
			seeds += len(p.Seeds)
		}
		if seeds != len(urls) || len(at) != len(names) {
			t.Fatalf("%d of %d seeds, %d of %d hosts", seeds, len(urls), len(at), len(names))
		}
		for _, n := range names {
			if w := strings.TrimPrefix(n, "www."); at[w] != "" && at[w] != at[n] && w != n {
				t.Fatalf("%s and %s are in slices %s and %s", n, w, at[n], at[w])
			}
		}
	})
}

func TestSpecIsValid(t *testing.T) {
	s := crawl.Spec(crawl.Options{Network: []string{"a.org:443"}})
	s.Inputs = []jobspec.Input{{CID: "bafkqaaa"}}
	if err := s.WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
	if s.WithDefaults().Cache != jobspec.CacheOff {
		t.Error("what a crawl gave is remembered")
	}
	code, err := crawl.Code()
	if err != nil || len(code["crawl.py"]) == 0 || len(code) < 4 {
		t.Errorf("Code = %d files, %v", len(code), err)
	}
}

// The parts of the spider that need no crawler run on any Python.
func TestSpider(t *testing.T) {
	cmd := exec.Command("python3", "-B", "-m", "unittest", "discover", "-s", "testdata", "-p", "test_*.py")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("\nOK")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func seedsOf(t interface{ Fatal(...any) }, urls ...string) []crawl.Seed {
	var list []crawl.Seed
	for _, u := range slices.Clone(urls) {
		s, err := crawl.ParseSeed(u)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}
