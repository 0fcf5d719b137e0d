package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/delivery/command"
	"github.com/ipdc/ipdc/delivery/dir"
	"github.com/ipdc/ipdc/delivery/httpput"
	"github.com/ipdc/ipdc/delivery/s3"
	"github.com/ipdc/ipdc/delivery/webhook"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/courier"
)

// maxOutlets is how large the file of outlets is at most.
const maxOutlets = 1 << 20

// wholeResult bounds the reading of a result that this node has stored and
// verified: by nothing but what fits a machine.
var wholeResult = ipfs.Budget{Bytes: 1 << 50, Entries: 1 << 30, Blocks: 1 << 40}

func (s *settings) outlets() string { return cmp.Or(s.Outlets, filepath.Join(s.Path, "outlets.yaml")) }

// outletsFile is a file that says where results may be sent and who may be
// told, read anew each time, so that a change needs no restart.
type outletsFile string

var _ courier.Outlets = outletsFile("")

// outlets is what the file holds. docs/publish.md describes it.
type outlets struct {
	Publish []outlet `json:"publish"`
	Notify  []outlet `json:"notify"`
}

// outlet permits what lies at URL or below it.
type outlet struct {
	URL     string            `json:"url"`
	Tenants []string          `json:"tenants"` // that may use it; none = all
	Members bool              `json:"members"` // jobs that came here from other members may, too
	Headers map[string]string `json:"headers"` // of http and https

	Endpoint  string `json:"endpoint"` // these of s3
	Region    string `json:"region"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`

	Secret  string   `json:"secret"`  // of a webhook
	Command []string `json:"command"` // of exec
}

// Store implements [courier.Outlets].
func (f outletsFile) Store(who courier.Who, to jobspec.Outlet) (delivery.Store, error) {
	o, top, err := f.find("publish", who, to, jobspec.ParsePublish, func(o outlets) []outlet { return o.Publish })
	if err != nil {
		return nil, err
	}
	switch to.Scheme {
	case "file":
		return dir.New(top.Path, strings.TrimPrefix(strings.TrimPrefix(to.Path, top.Path), "/")), nil
	case "s3":
		st, err := s3.New(s3.Config{
			Endpoint: o.Endpoint, Region: o.Region, Bucket: to.Host, Prefix: strings.TrimPrefix(to.Path, "/"), AccessKey: o.AccessKey, SecretKey: o.SecretKey,
		})
		if err != nil {
			return nil, f.wrong(o.URL, err)
		}
		return st, nil
	}
	return httpput.New(httpput.Config{URL: to.String(), Header: o.header()}), nil
}

// Receiver implements [courier.Outlets].
func (f outletsFile) Receiver(who courier.Who, to jobspec.Outlet) (delivery.Receiver, error) {
	o, _, err := f.find("notify", who, to, jobspec.ParseNotify, func(o outlets) []outlet { return o.Notify })
	switch {
	case err != nil:
		return nil, err
	case to.Scheme != "exec":
		r, err := webhook.New(webhook.Config{URL: to.String(), Secret: o.Secret, Header: o.header()})
		if err != nil {
			return nil, f.wrong(o.URL, err)
		}
		return r, nil
	case len(o.Command) == 0 || !filepath.IsAbs(o.Command[0]):
		return nil, f.wrong(o.URL, errors.New("command is not a list that begins with an absolute path"))
	}
	return command.New(command.Config{Argv: o.Command}), nil
}

// find returns the entry that permits to, the most exact one, and where it
// begins.
func (f outletsFile) find(key string, who courier.Who, to jobspec.Outlet, parse func(string) (jobspec.Outlet, error), list func(outlets) []outlet) (best outlet, top jobspec.Outlet, err error) {
	all, err := f.read()
	if err != nil {
		return best, top, err
	}
	found := false
	for _, o := range list(all) {
		at, err := parse(o.URL)
		if err != nil {
			return best, top, f.wrong(o.URL, err)
		}
		permitted := (len(o.Tenants) == 0 || slices.Contains(o.Tenants, who.Tenant)) && (o.Members || !who.Member)
		if permitted && to.Below(at) && (!found || len(at.Path) > len(top.Path)) {
			best, top, found = o, at, true
		}
	}
	if !found {
		whom := who.Tenant
		if who.Member {
			whom = "jobs of other members"
		}
		return best, top, jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: key, Detail: fmt.Sprintf("this node does not permit %s to %s", to, whom),
			Hint: fmt.Sprintf("its administrator permits it by an entry of %s in %s; see docs/publish.md", key, f),
		}.Error()
	}
	return best, top, nil
}

// read returns what the file permits; without a file that is nothing. Others
// than its owner must not be able to read it: it holds passwords.
func (f outletsFile) read() (o outlets, err error) {
	file, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("read outlets: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return o, fmt.Errorf("read outlets: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return o, jobspec.Failure{
			Kind: jobspec.KindPolicy, Detail: fmt.Sprintf("%s holds passwords and others may read it (mode %04o)", f, mode), Hint: "chmod 600 " + string(f),
		}.Error()
	}
	b, err := io.ReadAll(io.LimitReader(file, maxOutlets+1))
	if err == nil && len(b) > maxOutlets {
		err = fmt.Errorf("it has more than %d bytes", maxOutlets)
	}
	if err == nil {
		err = yaml.UnmarshalStrict(b, &o)
	}
	if err != nil {
		return o, f.wrong("", err)
	}
	return o, nil
}

// wrong is what is the matter with the file, which only its administrator can
// mend.
func (f outletsFile) wrong(entry string, err error) error {
	detail := string(f)
	if entry != "" {
		detail += ", " + entry
	}
	return jobspec.Failure{Kind: jobspec.KindPolicy, Detail: detail + ": " + jobspec.AsFailure(err).Detail, Hint: "see docs/publish.md"}.Error()
}

func (o outlet) header() http.Header {
	h := http.Header{}
	for name, value := range o.Headers {
		h.Set(name, value)
	}
	return h
}
