package crawl

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Slice is what one task crawls.
type Slice struct {
	Name  string   // of its folder in the input
	Hosts []string // sorted
	Seeds []string // URLs, sorted

	opts   Options
	grants []jobspec.Endpoint
}

// Slices deals seeds. The hosts of a site, which have the last two parts of
// their names in common, stay together, as their pages lead to each other:
// links from one slice to the hosts of another are not followed. Hosts that
// are granted and have no seed go with their site, or into the first slice.
// The largest sites are dealt first, each into the slice with the fewest seeds.
//
// The error is of kind E_SPEC for options that are out of range, and for seeds
// whose host is not granted.
func Slices(seeds []Seed, o Options) ([]Slice, error) {
	o = o.WithDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	grants, err := granted(seeds, o.Network)
	if err != nil {
		return nil, err
	}
	sites := sitesOf(seeds, grants)
	list := make([]Slice, min(o.Slices, max(1, len(sites))))
	for _, s := range sites {
		to := slices.MinFunc(pointers(list), func(a, b *Slice) int { return cmp.Compare(len(a.Seeds), len(b.Seeds)) })
		if len(s.seeds) == 0 {
			to = &list[0]
		}
		to.Hosts = append(to.Hosts, s.hosts...)
		to.Seeds = append(to.Seeds, s.seeds...)
	}
	list = slices.DeleteFunc(list, func(s Slice) bool { return len(s.Seeds) == 0 })
	for i := range list {
		s := &list[i]
		s.Name, s.opts, s.grants = fmt.Sprintf("%05d", i), o, grants
		slices.Sort(s.Hosts)
		slices.Sort(s.Seeds)
	}
	return list, nil
}

// JSON is what the spider reads as slice.json.
func (s Slice) JSON() ([]byte, error) {
	grants := []string{}
	for _, g := range s.grants {
		if slices.Contains(s.Hosts, g.Host) {
			grants = append(grants, g.String())
		}
	}
	slices.Sort(grants)
	return json.Marshal(struct {
		Hosts    []string `json:"hosts"`
		Grants   []string `json:"grants"`
		Seeds    []string `json:"seeds"`
		Depth    int      `json:"depth"`
		RPS      float64  `json:"rps"`
		MaxPages int      `json:"max_pages"`
		MaxPage  int64    `json:"max_page"`
		Agent    string   `json:"user_agent"`
		Seconds  int64    `json:"seconds"` // after which it comes to its end
		Disk     int64    `json:"disk"`
	}{
		s.Hosts, grants, s.Seeds, s.opts.Depth, s.opts.Rate, s.opts.Pages, int64(s.opts.PageSize), s.opts.Agent,
		int64(s.opts.Timeouts.Run) / 1e9 * 9 / 10, int64(s.opts.Resources.Disk),
	})
}

// Folder is where the pages of a host are in a crawl's result.
func Folder(host string) string { return strings.ReplaceAll(host, ":", "_") }

type site struct {
	name         string
	hosts, seeds []string
}

// sitesOf groups hosts and their seeds, most seeds first.
func sitesOf(seeds []Seed, grants []jobspec.Endpoint) []site {
	byName := map[string]*site{}
	at := func(host string) *site {
		name := siteOf(host)
		if byName[name] == nil {
			byName[name] = &site{name: name}
		}
		return byName[name]
	}
	for _, g := range grants {
		if s := at(g.Host); !slices.Contains(s.hosts, g.Host) {
			s.hosts = append(s.hosts, g.Host)
		}
	}
	for _, seed := range seeds {
		s := at(seed.Host.Host)
		s.seeds = append(s.seeds, seed.URL)
	}
	var list []site
	for _, s := range byName {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b site) int { return cmp.Or(len(b.seeds)-len(a.seeds), strings.Compare(a.name, b.name)) })
	return list
}

// siteOf is the last two parts of a name, or an address.
func siteOf(host string) string {
	parts := strings.Split(host, ".")
	if _, err := netip.ParseAddr(host); err == nil || len(parts) < 3 {
		return host
	}
	return strings.Join(parts[len(parts)-2:], ".")
}

func pointers(list []Slice) []*Slice {
	out := make([]*Slice, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}
