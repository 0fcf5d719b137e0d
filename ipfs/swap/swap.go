// Package swap moves blocks between the members of a domain, by bitswap over
// the domain's private host. It serves what the node has stored and fetches
// what it has not; it knows no DHT and announces nothing.
//
//	s := swap.New(swap.Config{Host: host, Next: gateways})
//	node, err := embedded.Open(ctx, embedded.Config{Dir: dir, Fetcher: s}) // or Over(kuboNode, s)
//	s.Serve(node)
//	data, err := node.Get(ctx, c) // of a member, if it is not here
//	err = s.Close()
//
// Invariants: only members are served and asked, as Host admits nobody else;
// no block leaves this package whose bytes do not hash to its CID; serving
// never makes the node fetch; a fetch that makes no progress ends after
// Config.Wait, or as soon as every member has said that it has nothing.
package swap

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"

	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/jobspec"
)

// Fetcher gets blocks from elsewhere, as package gateway does.
type Fetcher interface {
	Block(ctx context.Context, c jobspec.CID) ([]byte, error)
	DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error
}

// Local is what the node has stored.
type Local interface {
	Has(ctx context.Context, c jobspec.CID) (bool, error)
	Get(ctx context.Context, c jobspec.CID) ([]byte, error)
}

// Config is what a Swap is made of. Host is required.
type Config struct {
	Host *p2phost.Host
	// Next is asked for what no member has; default nobody.
	Next Fetcher
	// Expects says whether members that live may be connected in a moment: a
	// search that found nothing goes on meanwhile, where there is a Next for
	// three seconds at most. Default never.
	Expects func() bool
	// Wait is how long a fetch goes on without a new block; default 30 s.
	Wait time.Duration
	// MaxBytes of one DAG; default 10 GiB, the bound of a job's input.
	MaxBytes int64
	// MaxFetches is how many blocks and DAGs are fetched at once; others
	// wait, and their time begins later. Default 16.
	MaxFetches int
	Logger     *slog.Logger // default: no log
}

// Swap is a node's end of the exchange. Its methods may be called concurrently.
type Swap struct {
	cfg       Config
	log       *slog.Logger
	net       network.BitSwapNetwork
	bitswap   *bitswap.Bitswap
	local     atomic.Pointer[Local] // nil until Serve
	slots     chan struct{}
	asks      asks
	counter   counter
	signs     signs
	unfollow  func()
	cancel    context.CancelFunc
	closeOnce sync.Once
}

var _ Fetcher = (*Swap)(nil)

// workers bounds the goroutines of the serving side; bitswap's own defaults
// are for a public node.
const workers = 8

// outstanding is how many bytes one member may have under way from us.
const outstanding = 4 << 20

// New joins the exchange. Nothing is served until Serve.
func New(cfg Config) *Swap {
	cfg.Wait = cmp.Or(cfg.Wait, 30*time.Second)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 10<<30)
	cfg.MaxFetches = cmp.Or(cfg.MaxFetches, 16)
	if cfg.Expects == nil {
		cfg.Expects = func() bool { return false }
	}
	s := &Swap{cfg: cfg, log: cfg.Logger, slots: make(chan struct{}, cfg.MaxFetches)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background()) // until Close
	s.cancel, s.unfollow = cancel, s.signs.follow(cfg.Host.Libp2p().Network())
	prefix := cfg.Host.Protocol("blocks")
	s.net = bsnet.NewFromIpfsHost(cfg.Host.Libp2p(), bsnet.Prefix(prefix))
	s.bitswap = bitswap.New(ctx, s.net, nil, stored{s},
		bitswap.WithTracer(tracer{s}), bitswap.WithoutDuplicatedBlockStats(),
		bitswap.EngineBlockstoreWorkerCount(workers), bitswap.EngineTaskWorkerCount(workers), bitswap.TaskWorkerCount(workers),
		bitswap.MaxOutstandingBytesPerPeer(outstanding),
		bitswap.WithWantHaveReplaceSize(0)) // else each holder that is asked sends a small block
	return s
}

// Serve gives members the blocks that local has from now on.
func (s *Swap) Serve(local Local) { s.local.Store(&local) }

// Close leaves the exchange. Fetches that run fail. Closing twice is safe.
func (s *Swap) Close() error {
	s.closeOnce.Do(func() {
		s.unfollow()
		s.cancel()
		s.bitswap.Close()
	})
	return nil
}
