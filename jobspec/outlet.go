package jobspec

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// MaxOutlets is how many entries publish and notify of a spec have, each.
const MaxOutlets = 8

// maxOutlet is how many bytes one entry has.
const maxOutlet = 1024

// Outlet is where a result is sent to, or who is told of a job's end: an entry
// of a spec's publish or notify. Its path may hold {job} and {cid}, which
// stand for the job's id and its result.
type Outlet struct {
	Scheme string // s3, http, https, file or exec
	Host   string // host[:port], or the bucket of s3; "" for file and exec
	Path   string // begins with "/", no "/" at its end; "" = the top. Of exec: the name of the command
}

// String returns the outlet as it is written.
func (o Outlet) String() string {
	switch o.Scheme {
	case outletExec:
		return outletExec + ":" + o.Path
	case outletFile:
		return "file://" + o.Path
	}
	return o.Scheme + "://" + o.Host + o.Path
}

// For returns o with the placeholders of its path filled in.
func (o Outlet) For(job JobID, result CID) Outlet {
	o.Path = strings.NewReplacer("{job}", job.String(), "{cid}", result.String()).Replace(o.Path)
	return o
}

// Below says whether o is top or lies below it: the same scheme and host, and
// a path that begins with top's whole segments.
func (o Outlet) Below(top Outlet) bool {
	return o.Scheme == top.Scheme && o.Host == top.Host &&
		(o.Path == top.Path || o.Scheme != outletExec && strings.HasPrefix(o.Path, top.Path+"/"))
}

// The schemes of outlets.
const (
	outletS3    = "s3"
	outletHTTP  = "http"
	outletHTTPS = "https"
	outletFile  = "file"
	outletExec  = "exec"
)

var (
	bucketName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	commandName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
)

// ParsePublish reads an entry of publish: s3://BUCKET/PREFIX, https://HOST/PATH
// (HTTP PUT, http:// too) or file:///DIR. Queries, user names, "..", "%" and
// control characters are refused. The error is of kind E_SPEC.
func ParsePublish(s string) (Outlet, error) {
	return parseOutlet(s, "s3://BUCKET/PREFIX, https://HOST/PATH or file:///DIRECTORY", outletS3, outletHTTP, outletHTTPS, outletFile)
}

// ParseNotify reads an entry of notify: https://HOST/PATH (http:// too), or
// exec:NAME for a command that the node's administrator has named. The error
// is of kind E_SPEC.
func ParseNotify(s string) (Outlet, error) {
	return parseOutlet(s, "https://HOST/PATH or exec:NAME", outletHTTP, outletHTTPS, outletExec)
}

func parseOutlet(s, forms string, schemes ...string) (Outlet, error) {
	bad := func(why string) (Outlet, error) {
		return Outlet{}, Failure{Kind: KindSpec, Detail: fmt.Sprintf("%q is nowhere to send to: %s", clip(s), why), Hint: "write " + forms}.Error()
	}
	scheme, rest, _ := strings.Cut(s, ":")
	switch {
	case len(s) > maxOutlet:
		return bad(fmt.Sprintf("it has %d bytes, at most %d are taken", len(s), maxOutlet))
	case !slices.Contains(schemes, scheme):
		return bad("it does not begin with " + strings.Join(schemes, ":, ") + ":")
	case scheme == outletExec && commandName.MatchString(rest):
		return Outlet{Scheme: scheme, Path: rest}, nil
	case scheme == outletExec:
		return bad("the name of a command is a-z, then up to 31 of a-z, 0-9 and '-'")
	}
	rest, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return bad("// is missing")
	}
	host, path, _ := strings.Cut(rest, "/")
	o := Outlet{Scheme: scheme, Host: host}
	if path = strings.TrimRight(path, "/"); path != "" {
		o.Path = "/" + path
	}
	if why := o.bad(); why != "" {
		return bad(why)
	}
	return o, nil
}

// bad says what is wrong with host or path, or "".
func (o Outlet) bad() string {
	switch {
	case o.Scheme == outletFile && o.Host != "":
		return "a directory is written with three slashes, file:///DIR"
	case o.Scheme == outletFile && o.Path == "":
		return "the directory is missing"
	case o.Scheme == outletS3 && !bucketName.MatchString(o.Host):
		return "the bucket is 3 to 63 of a-z, 0-9, '.' and '-'"
	case o.Scheme != outletFile && o.Scheme != outletS3 && !isAuthority(o.Host):
		return "the host is no name or address, with a port or without"
	case strings.ContainsAny(o.Path, "%?#"):
		return "'%', '?' and '#' are not taken"
	}
	for i, name := range strings.Split(o.Path, "/") {
		plain := strings.NewReplacer("{job}", "", "{cid}", "").Replace(name)
		switch why := badSegment(name); {
		case i == 0: // before the first slash
		case why != "":
			return why
		case strings.ContainsAny(plain, "{}"):
			return "what stands in braces is {job} or {cid}"
		}
	}
	return ""
}

// isAuthority says whether s is host or host:port, and nothing else.
func isAuthority(s string) bool {
	u, err := url.Parse("//" + s)
	if err != nil || u.Host != s || u.User != nil {
		return false
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return true
	}
	return badHost(u.Hostname()) == ""
}

// Delivery is how far a job's result has come at one outlet, or the telling of
// its end.
type Delivery struct {
	Kind  DeliveryKind  `json:"kind"`
	To    string        `json:"to"` // an outlet
	State DeliveryState `json:"state"`
	Tries int           `json:"tries,omitempty"`
	Next  time.Time     `json:"next,omitzero"`   // when it is tried again
	Why   string        `json:"why,omitempty"`   // the last try failed
	Files int           `json:"files,omitempty"` // that are there, in the order of their paths
	Bytes Bytes         `json:"bytes,omitempty"` // of these
	Ended time.Time     `json:"ended,omitzero"`
}

// DeliveryKind says what is delivered.
type DeliveryKind string

// The values of DeliveryKind.
const (
	DeliverPublish DeliveryKind = "publish" // the files of the result
	DeliverNotify  DeliveryKind = "notify"  // a message that the job has ended
)

// DeliveryState is the state of a Delivery.
type DeliveryState string

// The values of DeliveryState.
const (
	DeliveryWaiting DeliveryState = "waiting" // for its first or next try
	DeliveryDone    DeliveryState = "done"
	DeliveryFailed  DeliveryState = "failed" // no try is left; job publish begins anew
)

// Deliveries returns what is to be done at the end of a job, each waiting: its
// result is published if it succeeded, and whoever is to be told is told.
func (j Job) Deliveries() []Delivery {
	var list []Delivery
	add := func(kind DeliveryKind, entries []string, parse func(string) (Outlet, error)) {
		for _, text := range entries {
			if o, err := parse(text); err == nil {
				list = append(list, Delivery{Kind: kind, To: o.For(j.ID, j.Result).String(), State: DeliveryWaiting, Next: j.Finished})
			}
		}
	}
	if j.State == JobSucceeded {
		add(DeliverPublish, j.Spec.Publish, ParsePublish)
	}
	if j.State.Final() {
		add(DeliverNotify, j.Spec.Notify, ParseNotify)
	}
	return list
}

func validateOutlets(l *problemList, path string, list []string, parse func(string) (Outlet, error)) {
	if len(list) > MaxOutlets {
		l.add(path, "has %d entries, at most %d are taken", len(list), MaxOutlets)
	}
	seen := map[Outlet]bool{}
	for i, text := range list {
		o, err := parse(text)
		l.check(joinIndex(path, i), err)
		if err == nil && seen[o] {
			l.add(joinIndex(path, i), "%s stands twice", clip(text))
		}
		seen[o] = true
	}
}
