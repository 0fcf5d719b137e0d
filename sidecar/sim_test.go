package sidecar_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire"
)

// simulation is a domain in one process, on a fake clock: the owner of a job
// is a whole sidecar, with its store, its blocks and its bus; the members who
// do the work are thin: they keep the protocol, but have no store, and a task
// takes the time that its bytes stand for.
type simulation struct {
	t       *testing.T
	size    simSize
	net     *memory.Network
	owner   *bench
	workers []*worker
	work    sync.WaitGroup

	mu     sync.Mutex
	blocks map[jobspec.CID][]byte // of the dataset and of what workers say
	homes  map[jobspec.CID]uint64 // files: which two workers hold it

	messages, bytes atomic.Int64 // on the bus
	control         atomic.Int64 // bytes of the owner's files that workers read
	thin            atomic.Int64 // nanoseconds of processor time that workers took
}

// simSize is what is varied.
type simSize struct {
	Nodes, Tasks int
	Seed         uint64
}

const (
	filesPerTask = 4
	secondPerKiB = 20 * time.Second // of work, at a worker that has the bytes
	remotePerKiB = 30 * time.Second // at one that has not
)

// simulate starts a domain; it ends with the test.
func simulate(t *testing.T, size simSize) *simulation {
	t.Helper()
	s := &simulation{t: t, size: size, blocks: map[jobspec.CID][]byte{}, homes: map[jobspec.CID]uint64{}}
	s.net = memory.New(memory.Config{Queue: 1 << 14, Faults: func(m memory.Message) []time.Duration {
		s.messages.Add(1)
		s.bytes.Add(int64(len(m.Payload)))
		return []time.Duration{0}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	for i := range size.Nodes {
		s.workers = append(s.workers, s.hire(ctx, i))
	}
	t.Cleanup(func() { cancel(); s.work.Wait() })
	s.owner = newBench(t, func(c *embedded.Config) { c.Fetcher = s })
	s.owner.budget = ipfs.Budget{Bytes: 1 << 50, Entries: 1 << 30}
	s.owner.crew = s
	s.owner.restart()
	return s
}

// join gives the owner its post.
func (s *simulation) join(key identity.Key, log *slog.Logger) (*bus.Post, func()) {
	m, err := s.net.Join(key.ID())
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: key, Roster: everybody{}, Logger: log,
		Certificate: func() []byte { return nil },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return p, func() { m.Close() }
}

// Live implements sidecar.Crew.
func (s *simulation) Live() (list []sidecar.Peer) {
	for _, w := range s.workers {
		list = append(list, sidecar.Peer{
			ID: w.key.ID(), Arch: runtime.GOARCH,
			Capacity: jobspec.Resources{CPU: jobspec.CPU(1000 * w.slots), Memory: 64 * jobspec.GiB, Disk: 64 * jobspec.GiB},
		})
	}
	return list
}

// Gather implements sidecar.Crew.
func (s *simulation) Gather(context.Context) bool { return false }

// dataset makes files that each lie on two workers, in runs as a sensor or a
// crawl leaves them, and returns the root of all.
func (s *simulation) dataset() string {
	ctx, mem := s.t.Context(), ipfstest.NewMemory()
	rnd := rand.New(rand.NewPCG(s.size.Seed, 1))
	n := s.size.Tasks * filesPerTask
	files := make([]merge.File, n)
	run := max(5*filesPerTask, n/(8*s.size.Nodes))
	var home uint64
	for i := range files {
		if i%run == 0 {
			a := rnd.IntN(s.size.Nodes)
			home = uint64(a)<<32 | uint64((a+1+rnd.IntN(max(s.size.Nodes-1, 1)))%s.size.Nodes)
		}
		content := make([]byte, 512+rnd.IntN(1024))
		binary.LittleEndian.PutUint64(content, uint64(i))
		c := rawBlock(s.t, content)
		s.blocks[c], s.homes[c] = content, home
		files[i] = merge.File{Path: fmt.Sprintf("%03d/%07d", i/1000, i), CID: c, Size: int64(len(content))}
	}
	root, err := merge.Files(ctx, mem, files)
	if err != nil {
		s.t.Fatal(err)
	}
	s.copyNodes(mem, root)
	return root.String()
}

// copyNodes takes the directories below root into the blocks of the domain.
func (s *simulation) copyNodes(from ipfs.Getter, root jobspec.CID) {
	data, err := from.Get(s.t.Context(), root)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.blocks[root] = data
	s.mu.Unlock()
	links, err := tree.Links(s.t.Context(), from, root, ipfs.Budget{})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, l := range links {
		if l.CID.Cid().Type() != cid.Raw {
			s.copyNodes(from, l.CID)
		}
	}
}

func rawBlock(t testing.TB, data []byte) jobspec.CID {
	sum := sha256.Sum256(data)
	mh, err := multihash.Encode(sum[:], multihash.SHA2_256)
	if err != nil {
		t.Fatal(err)
	}
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, mh))
}

// put adds a block to those of the domain.
func (s *simulation) put(data []byte) jobspec.CID {
	c := rawBlock(s.t, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[c] = data
	return c
}

// Block implements embedded.Fetcher for the owner.
func (s *simulation) Block(_ context.Context, c jobspec.CID) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, ok := s.blocks[c]; ok {
		return data, nil
	}
	return nil, jobspec.KindFetchTimeout.Errorf("nobody has %s", c)
}

// DAG implements embedded.Fetcher for the owner.
func (s *simulation) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	for _, root := range roots {
		data, err := s.Block(ctx, root)
		if err == nil {
			err = put(root, data)
		}
		if err != nil {
			return err
		}
		if root.Cid().Type() == cid.Raw {
			continue
		}
		links, err := tree.Links(ctx, blocks{s}, root, ipfs.Budget{})
		if err != nil {
			return err
		}
		below := make([]jobspec.CID, len(links))
		for i, l := range links {
			below[i] = l.CID
		}
		if err := s.DAG(ctx, below, put); err != nil {
			return err
		}
	}
	return nil
}

// blocks makes a simulation an ipfs.Getter.
type blocks struct{ s *simulation }

func (b blocks) Get(ctx context.Context, c jobspec.CID) ([]byte, error) { return b.s.Block(ctx, c) }

// run submits the job over the dataset and waits for its end.
func (s *simulation) run(root string) wire.Job {
	s.t.Helper()
	spec := jobspec.Spec{
		Version: jobspec.Version, Run: jobspec.Run{Image: "any", Command: []string{"x"}, Per: jobspec.PerItem, Feed: jobspec.FeedStdin},
		Inputs: []jobspec.Input{{CID: root}}, Split: jobspec.Split{By: jobspec.SplitSize, Into: s.size.Tasks},
		Resources: jobspec.Resources{CPU: 1000, Memory: jobspec.GiB, Disk: jobspec.GiB},
		Timeouts:  jobspec.Timeouts{Total: jobspec.Duration(30 * 24 * time.Hour)},
	}
	id := s.owner.submit(spec)
	if err := s.owner.Events(s.t.Context(), "t", id, 0, true, func(jobspec.Event) error { return nil }); err != nil {
		s.t.Fatal(err)
	}
	j, err := s.owner.Job(s.t.Context(), "t", id)
	if err != nil || j.State != jobspec.JobSucceeded {
		s.t.Fatalf("job is %s, %v: %+v", j.State, err, j.Failure)
	}
	return j
}
