package sidecar_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
)

// fleet is several sidecars that talk over a bus in memory and fetch each
// other's blocks.
type fleet struct {
	t     *testing.T
	net   *memory.Network
	mu    sync.Mutex
	nodes []*bench
	away  map[*bench]bool      // neither heard of nor asked for blocks
	soon  map[*bench]bool      // away, and to be heard when somebody waits for members
	moved map[jobspec.CID]int  // raw blocks that went from one node to another
	data  map[jobspec.CID]bool // leaves of a dataset that was scattered
	came  map[*bench]int       // bytes of these that came, by who got them

	slow <-chan struct{} // blocks come from other nodes after it; nil = at once

	streams map[identity.ID]bus.Streams

	skew map[identity.ID]time.Duration // of a node's clock, from its next start on; set before that

	recorded bool // the nodes keep a record of their jobs, from the next start on
}

// everybody lets any key in.
type everybody struct{}

func (everybody) Check(identity.ID, []byte, time.Time) error { return nil }

func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{
		t: t, net: memory.New(memory.Config{}), moved: map[jobspec.CID]int{}, came: map[*bench]int{}, data: map[jobspec.CID]bool{},
		streams: map[identity.ID]bus.Streams{}, away: map[*bench]bool{},
	}
	for range n {
		near := &neighbours{fleet: f}
		b := newBench(t, func(c *embedded.Config) { c.Fetcher = near })
		near.self = b
		f.mu.Lock()
		f.nodes = append(f.nodes, b)
		f.mu.Unlock()
	}
	for _, b := range f.nodes {
		b.crew = f
		b.restart()
	}
	return f
}

// join gives a sidecar its post, which runs until the function it returns is
// called.
func (f *fleet) join(key identity.Key, log *slog.Logger) (*bus.Post, func()) {
	f.t.Helper()
	m, err := f.net.Join(key.ID())
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.streams[key.ID()] = m
	f.mu.Unlock()
	p, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: key, Roster: everybody{}, Logger: log,
		Certificate: func() []byte { return nil }, Resend: 100 * time.Millisecond, Now: f.clock(key.ID()),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return p, func() { m.Close() }
}

// clock is a node's.
func (f *fleet) clock(id identity.ID) func() time.Time {
	off := f.skew[id]
	return func() time.Time { return time.Now().Add(off) }
}

// streamsOf is what a node has joined.
func (f *fleet) streamsOf(id identity.ID) bus.Streams {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.streams[id]
}

// Live implements sidecar.Crew.
func (f *fleet) Live() (list []sidecar.Peer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.nodes {
		if f.away[b] {
			continue
		}
		list = append(list, sidecar.Peer{
			ID: b.key.ID(), Arch: runtime.GOARCH, Labels: b.labels, Capacity: jobspec.Resources(b.cap), Free: jobspec.Resources(b.cap),
			Draining: b.running.Load().Draining(), Busy: b.running.Load().Busy(), Strict: b.running.Load().Strict(),
		})
	}
	return list
}

// Gather implements sidecar.Crew.
func (f *fleet) Gather(context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	waited := len(f.soon) > 0
	for b := range f.soon {
		delete(f.away, b)
	}
	f.soon = nil
	return waited
}

// neighbours is what a node of the fleet fetches with: all others.
type neighbours struct {
	*fleet
	self *bench
}

// Block implements embedded.Fetcher.
func (n *neighbours) Block(ctx context.Context, c jobspec.CID) ([]byte, error) {
	n.mu.Lock()
	nodes := slices.DeleteFunc(slices.Clone(n.nodes), func(b *bench) bool { return n.away[b] })
	slow := n.slow
	n.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for _, b := range nodes {
		if ok, err := b.ipfs.Has(ctx, c); b == n.self || err != nil || !ok {
			continue
		}
		data, err := b.ipfs.Get(ctx, c)
		if err == nil && c.Cid().Type() == cid.Raw {
			n.mu.Lock()
			n.moved[c]++
			if n.data[c] {
				n.came[n.self] += len(data)
			}
			n.mu.Unlock()
		}
		return data, err
	}
	return nil, jobspec.KindFetchTimeout.Errorf("nobody has %s", c)
}

// DAG implements embedded.Fetcher. What is here is read here.
func (n *neighbours) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	for _, root := range roots {
		data, err := n.Get(ctx, root)
		if err != nil {
			return err
		}
		if err := put(root, data); err != nil {
			return err
		}
		if root.Cid().Type() == cid.Raw {
			continue
		}
		below, err := links(ctx, n, root)
		if err != nil {
			return err
		}
		if err := n.DAG(ctx, below, put); err != nil {
			return err
		}
	}
	return nil
}

// links are the blocks that a block of dag-pb points at.
func links(ctx context.Context, g ipfs.Getter, c jobspec.CID) ([]jobspec.CID, error) {
	data, err := g.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	node, err := merkledag.DecodeProtobuf(data)
	if err != nil {
		return nil, err
	}
	var below []jobspec.CID
	for _, l := range node.Links() {
		below = append(below, jobspec.WrapCID(l.Cid))
	}
	return below, nil
}

// Get makes neighbours an ipfs.Getter for their own DAG.
func (n *neighbours) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if ok, err := n.self.ipfs.Has(ctx, c); err == nil && ok {
		return n.self.ipfs.Get(ctx, c)
	}
	return n.Block(ctx, c)
}

// Get makes a fleet an ipfs.Getter of what anybody has.
func (f *fleet) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	return (&neighbours{fleet: f}).Block(ctx, c)
}

// dataset puts some files on each node and their directories on all, and
// returns the root of all.
func (f *fleet) dataset(perNode int) (root string, files map[string]jobspec.CID) {
	f.t.Helper()
	ctx := f.t.Context()
	dir, files := f.t.TempDir(), map[string]jobspec.CID{}
	for i := range perNode * len(f.nodes) {
		path := filepath.Join(dir, fmt.Sprintf("%d/%03d.txt", i%len(f.nodes), i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			f.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fmt.Sprintf("content of %d\n", i)), 0o644); err != nil {
			f.t.Fatal(err)
		}
	}
	source, err := embedded.Open(ctx, embedded.Config{Dir: filepath.Join(f.t.TempDir(), "source")})
	if err != nil {
		f.t.Fatal(err)
	}
	defer source.Close()
	c, err := source.Add(ctx, "all", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(ctx, s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	for i, b := range f.nodes {
		_, err := b.ipfs.Add(ctx, "user/part", func(s ipfs.Session) (jobspec.CID, error) {
			part, err := tree.Resolve(ctx, source, c, []string{fmt.Sprint(i)})
			if err != nil {
				return c, err
			}
			for _, d := range []jobspec.CID{c, part} { // the root's block is garbage here, and stays until a collection
				data, err := source.Get(ctx, d)
				if err != nil {
					return c, err
				}
				if err := s.Put(ctx, d, data); err != nil {
					return c, err
				}
			}
			return part, tree.Walk(ctx, source, part, ipfs.Budget{}, func(e tree.Entry) error {
				if e.Kind != tree.File {
					return nil
				}
				files[fmt.Sprintf("%d/%s", i, e.Path)] = e.CID
				data, err := source.Get(ctx, e.CID)
				if err != nil {
					return err
				}
				return s.Put(ctx, e.CID, data)
			})
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return c.String(), files
}

// perItem is a job whose container copies each file.
func perItem(root string, files map[string]jobspec.CID) jobspec.Spec {
	var report strings.Builder
	for _, path := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&report, "{\"type\":\"item\",\"path\":%q,\"outputs\":[%q]}\n", path, path)
	}
	s := spec("DUMMY_COPY=/inputs:/outputs", "DUMMY_STDOUT=hello", "DUMMY_WRITE_REPORT=/ipdc/report/report.jsonl:"+report.String())
	s.Run.Per, s.Run.Feed = jobspec.PerItem, jobspec.FeedStdin
	s.Inputs = []jobspec.Input{{CID: root}}
	return s
}

// lease sets how long workers may be silent, from now on.
func (f *fleet) lease(d time.Duration) {
	for _, b := range f.nodes {
		b.lease = d
		b.restart()
	}
}

// partOf is perItem over what one node alone holds.
func partOf(root string, files map[string]jobspec.CID, node int) jobspec.Spec {
	part := map[string]jobspec.CID{}
	for path, c := range files {
		if rest, ok := strings.CutPrefix(path, fmt.Sprintf("%d/", node)); ok {
			part[rest] = c
		}
	}
	return perItem(fmt.Sprintf("%s/%d", root, node), part)
}
