package sidecar

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/sidecar/schedule"
)

// Names resolves names that can change.
type Names interface {
	// ResolveName returns what "/ipns/KEY" or "/ipns/DOMAIN" points to now.
	// E_NOT_FOUND: nothing.
	ResolveName(ctx context.Context, name string) (jobspec.CID, error)
}

var _ schedule.Heads = (*heads)(nil)

// heads are what schedules follow: datasets, and names where the node has a
// source for them.
type heads struct {
	datasets *dataset.Keeper
	names    Names // nil = none
	now      func() time.Time

	mu   sync.Mutex
	seen map[string]seenName
}

// seenName is what a name pointed to.
type seenName struct {
	cid jobspec.CID
	at  time.Time
}

// nameAge is how long what a name points to is not asked for again: each time is
// a walk through the DHT or a question to the DNS.
const nameAge = time.Minute

var ipnsName = regexp.MustCompile(`^/ipns/[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// Head implements [schedule.Heads].
func (h *heads) Head(ctx context.Context, tenant, name string) (schedule.Version, error) {
	if strings.HasPrefix(name, "ipns://") || strings.HasPrefix(name, "/ipns/") {
		c, err := h.name(ctx, "/ipns/"+strings.TrimPrefix(strings.TrimPrefix(name, "/ipns/"), "ipns://"))
		return schedule.Version{CID: c}, err
	}
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return schedule.Version{}, err
	}
	if ref.Version != 0 {
		return schedule.Version{}, jobspec.Failure{
			Kind: jobspec.KindSpec, Detail: fmt.Sprintf("%s is one version, which never changes", ref), Hint: "follow the dataset: --on-change " + ref.Name,
		}.Error()
	}
	v, err := h.datasets.Resolve(ctx, tenant, ref)
	return schedule.Version{Version: int64(v.Version), CID: v.Root, ID: v.ID}, err
}

// name returns what a name points to, or pointed to less than nameAge ago.
func (h *heads) name(ctx context.Context, name string) (jobspec.CID, error) {
	if h.names == nil {
		return jobspec.CID{}, jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: "on_change", Detail: fmt.Sprintf("this node has no source that resolves %.128q: gateways are asked for blocks only", name),
			Hint: "start the node with --ipfs and a Kubo, which resolves names; or append what it points to to a dataset (ipdc dataset append), and follow that",
		}.Error()
	}
	if !ipnsName.MatchString(name) {
		return jobspec.CID{}, jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "on_change", Detail: fmt.Sprintf("%.128q is no name: /ipns/ and a key or a domain, and nothing behind it", name),
			Hint: "for example /ipns/docs.ipfs.tech",
		}.Error()
	}
	h.mu.Lock()
	was, ok := h.seen[name]
	h.mu.Unlock()
	if age := h.now().Sub(was.at); ok && age >= 0 && age < nameAge {
		return was.cid, nil
	}
	c, err := h.names.ResolveName(ctx, name)
	if err != nil {
		return jobspec.CID{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seen == nil || len(h.seen) >= 1000 { // more than schedules there are: some have gone
		h.seen = map[string]seenName{}
	}
	h.seen[name] = seenName{c, h.now()}
	return c, nil
}

// After implements [schedule.Heads].
func (h *heads) After(ctx context.Context, tenant, name string, version int64) ([]schedule.Version, error) {
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return nil, err
	}
	list, err := h.datasets.After(ctx, tenant, ref.Name, int(version))
	out := make([]schedule.Version, len(list))
	for i, v := range list {
		out[i] = schedule.Version{Version: int64(v.Version), CID: v.Root, ID: v.ID}
	}
	return out, err
}
