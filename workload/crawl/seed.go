package crawl

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Bounds of a list of seeds.
const (
	MaxSeeds = 100_000
	MaxURL   = 2000 // characters, as the spider has it
)

// Seed is a URL to begin with.
type Seed struct {
	URL  string           // http or https, without user name and fragment, the host in lower case
	Host jobspec.Endpoint // with the port that the scheme stands for
}

// ReadSeeds reads one URL a line. Empty lines and those that begin with # are
// left out, as are URLs that came before. Names without a scheme are of
// https. What cannot be crawled is refused, all of it at once, with its lines.
func ReadSeeds(r io.Reader) ([]Seed, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<10)
	var seeds []Seed
	var bad []string
	seen := map[string]bool{}
	for n := 1; in.Scan(); n++ {
		line := strings.TrimSpace(in.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		s, err := ParseSeed(line)
		switch {
		case err != nil:
			bad = append(bad, fmt.Sprintf("line %d: %v", n, err))
		case len(seeds) == MaxSeeds:
			return nil, jobspec.KindLimit.Errorf("the list has over %d seeds", MaxSeeds)
		case !seen[s.URL]:
			seen[s.URL] = true
			seeds = append(seeds, s)
		}
	}
	if err := in.Err(); err != nil {
		return nil, refuse("SEEDS", fmt.Sprintf("it cannot be read as lines: %v", err), "give one URL a line")
	}
	if len(bad) > 0 {
		return nil, refuse("SEEDS", few(bad, "; "), "give one http:// or https:// URL a line")
	}
	if len(seeds) == 0 {
		return nil, refuse("SEEDS", "there is no URL in it", "give one URL a line")
	}
	return seeds, nil
}

// ParseSeed reads one URL.
func ParseSeed(text string) (Seed, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return Seed{}, fmt.Errorf("%.200q is no URL", text)
	}
	port := u.Port()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Seed{}, fmt.Errorf("%.200q is neither http nor https", text)
	case u.User != nil:
		return Seed{}, fmt.Errorf("%.200q has a user name, which is not sent", u.Redacted())
	case port == "" && u.Scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	host := strings.TrimSuffix(u.Host, ":"+u.Port())
	e, err := jobspec.ParseEndpoint(host + ":" + port)
	if err != nil {
		return Seed{}, fmt.Errorf("%.200q: %s", text, jobspec.AsFailure(err).Detail)
	}
	u.Host, u.Fragment, u.RawFragment = e.String(), "", ""
	if u.Scheme == "http" && e.Port == 80 || u.Scheme == "https" && e.Port == 443 {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if n := escapedLen(u.String()); n > MaxURL {
		return Seed{}, fmt.Errorf("a URL of %d characters, at most %d are crawled", n, MaxURL)
	}
	return Seed{URL: u.String(), Host: e}, nil
}

// escapedLen is the length of a URL with everything escaped as the spider does.
func escapedLen(url string) int {
	n := len(url)
	for _, b := range []byte(url) {
		if b <= ' ' || b > '~' || strings.IndexByte("\"<>\\^`{|}", b) >= 0 {
			n += 2
		}
	}
	return n
}

// granted returns the endpoints of a network, or refuses one that does not
// have those of the seeds, and says what would.
func granted(seeds []Seed, network []string) ([]jobspec.Endpoint, error) {
	var all, lack []jobspec.Endpoint
	for _, text := range network {
		e, err := jobspec.ParseEndpoint(text)
		if err != nil {
			return nil, err
		}
		all = add(all, e)
	}
	for _, s := range seeds {
		if !slices.Contains(all, s.Host) {
			lack = add(lack, s.Host)
		}
	}
	if len(lack) == 0 {
		return all, nil
	}
	detail := fmt.Sprintf("the seeds are of %s, which --network does not grant", few(texts(lack), ", "))
	if len(network) == 0 {
		detail = "a crawl reaches no host that is not granted, and there is no --network"
	}
	want := slices.Concat(all, lack)
	hint := "give --network " + strings.Join(texts(want), ",")
	if len(want) > jobspec.MaxNetwork {
		hint = fmt.Sprintf("a job is granted at most %d hosts and ports, these would be %d: cut the list into several crawls", jobspec.MaxNetwork, len(want))
	}
	return nil, jobspec.Failure{Kind: jobspec.KindSpec, Where: "--network", Detail: detail, Hint: hint}.Error()
}

func add(list []jobspec.Endpoint, e jobspec.Endpoint) []jobspec.Endpoint {
	if slices.Contains(list, e) {
		return list
	}
	return append(list, e)
}

func texts(list []jobspec.Endpoint) (out []string) {
	for _, e := range list {
		out = append(out, e.String())
	}
	slices.Sort(out)
	return out
}

// few joins the first ten of a list.
func few(list []string, with string) string {
	const most = 10
	if len(list) > most {
		return strings.Join(list[:most], with) + fmt.Sprintf("%sand %d more", with, len(list)-most)
	}
	return strings.Join(list, with)
}
