// Package pip says how the requirements of a Python program are installed: as
// a job of its own, in the same sandbox as any other, with a package index as
// the only names it may reach. Its result, a directory of packages, is the
// dependency CID of the job that asked for it. A job is kept by its key, so the
// same requirements for the same image are installed once.
//
//	err := pip.Check(name, text)                    // before anything runs
//	spec := pip.Job(pip.Request{Requirements: cid, Image: image, Code: code, Index: index})
//	versions := pip.Packages(names)                 // of the result's entries
//
// The package is pure: it reads and runs nothing.
package pip

import (
	_ "embed"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Install is the program that a job runs. It belongs into the code directory
// under the name [Program].
//
//go:embed install.py
var Install []byte

// Program is the name of Install in the code directory.
const Program = "install.py"

// Target is where packages are mounted for programs.
const Target = "/deps"

// DefaultIndex is the Python Package Index.
const DefaultIndex = "https://pypi.org/simple"

// Index is a package index in the sense of PEP 503.
type Index struct {
	URL   string   // may hold a user name and a password
	Hosts []string // host:port of further servers that the index refers to
}

// ParseIndex reads the URL of an index; "" is PyPI. hosts are further servers
// that its files lie on; those of PyPI are known.
func ParseIndex(raw string, hosts ...string) (Index, error) {
	if raw == "" {
		raw = DefaultIndex
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "" || u.RawQuery != "" {
		return Index{}, jobspec.KindSpec.Errorf("the package index is not an http(s) URL: write it as in %s", DefaultIndex)
	}
	ix := Index{URL: raw, Hosts: slices.Clone(hosts)}
	switch u.Hostname() {
	case "pypi.org", "test.pypi.org":
		ix.Hosts = append(ix.Hosts, "files.pythonhosted.org:443")
	}
	for _, h := range ix.Grants() {
		if _, err := jobspec.ParseEndpoint(h); err != nil {
			return Index{}, fmt.Errorf("package index: %w", err)
		}
	}
	return ix, nil
}

// Public returns the URL without user name and password.
func (ix Index) Public() string {
	u, err := url.Parse(ix.URL)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// Grants returns the host:port pairs that an installation may reach.
func (ix Index) Grants() []string {
	u, err := url.Parse(ix.URL)
	if err != nil {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	host := u.Hostname()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	list := append([]string{host + ":" + port}, ix.Hosts...)
	slices.Sort(list)
	return slices.Compact(list)
}

// Request is what is to be installed.
type Request struct {
	Requirements jobspec.CID // a requirements file, or a directory with one or with wheels
	Offline      bool        // it holds wheels, and no index is asked
	AllowBuild   bool
	Image        string            // the image it is installed for: a stock name, or an identity
	Code         jobspec.CID       // directory with Install
	Index        Index             //
	Refresh      bool              // ask again instead of using what was installed before
	Limits       jobspec.Resources // what one task of the node may have at most
	Run          jobspec.Duration  // how long it may run at most; 0 = 30 minutes
	Isolation    jobspec.Isolation // of the job it is for
}

// What an installation gets, as far as the node has it.
const (
	memory  = 2 * jobspec.GiB
	disk    = 8 * jobspec.GiB
	minutes = 30
)

// EnvIndex is the variable that names the index to pip. The node adds user name
// and password where it runs the job, so that no record holds them; see
// [Trusted].
const EnvIndex = "PIP_INDEX_URL"

const envBuild = "ALLOW_BUILD" // "1": packages may run code of theirs while they are installed

// Trusted says whether nothing but pip itself runs in an installation, so that
// it may see the password of the index: in a stock image, from wheels only.
func Trusted(s jobspec.Spec, stockImage bool) bool {
	return stockImage && s.Run.Env[envBuild] == ""
}

// Job returns the spec of the installation.
func Job(r Request) jobspec.Spec {
	s := jobspec.Spec{
		Version: jobspec.Version,
		Name:    "requirements",
		Run: jobspec.Run{
			Image: r.Image, Command: []string{"python3", "/code/" + Program}, Code: r.Code,
			Env: map[string]string{},
		},
		Inputs: []jobspec.Input{{CID: r.Requirements.String()}},
		Resources: jobspec.Resources{
			CPU: min(2*jobspec.DefaultCPU, r.Limits.CPU), Memory: min(memory, r.Limits.Memory), Disk: min(disk, r.Limits.Disk),
		},
		Timeouts:  jobspec.Timeouts{Run: minutes * 60e9},
		Isolation: r.Isolation,
		Cache:     jobspec.CacheUse, // said, as a network turns it off otherwise
	}
	if r.Run > 0 {
		s.Timeouts.Run = min(s.Timeouts.Run, r.Run)
	}
	if r.Refresh {
		s.Cache = jobspec.CacheRefresh
	}
	if r.AllowBuild {
		s.Run.Env[envBuild] = "1"
	}
	if !r.Offline {
		s.Run.Env[EnvIndex] = r.Index.Public()
		s.Network = r.Index.Grants()
	}
	return s
}
