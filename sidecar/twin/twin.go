// Package twin finds out that two processes work under one identity, as of a
// state directory that was copied to another machine. Each node signs now and
// then which process it is and since when, and leaves that with the members near
// its id; these show it what others left under the same id.
//
//	w := twin.New(twin.Config{Key: key, Streams: streams, Logger: log})
//	go w.Run(ctx)
//	if err := w.Check(); err != nil { ... } // takes no work
//
// Invariants: of two that hear of each other the one that began later is told by
// Check, and no other; nobody else can make a node believe in a twin, as only its
// own key signs one; a process that said nothing after this one began, such as
// the one before it, is none; what others leave here is bounded.
package twin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Config is what a Watch is made of. Key and Streams are required.
type Config struct {
	Key     identity.Key
	Streams bus.Streams      // New adds a handler to it
	Every   time.Duration    // between two rounds; default 10 s
	Logger  *slog.Logger     // default: no log
	Now     func() time.Time // default time.Now
}

// Watch is one process of a node. Its methods may be called concurrently.
type Watch struct {
	cfg   Config
	self  identity.ID
	run   string
	since time.Time

	mu    sync.Mutex
	left  map[identity.ID]map[string]kept // here, by node and process
	other said                            // an earlier one of this node's id
	heard time.Time                       // when; zero = never
}

// said is what a process says of itself.
type said struct {
	Run   string `json:"run"`   // random
	Since int64  `json:"since"` // when it began, in ms since 1970
	Now   int64  `json:"now"`   // when it said so, likewise
}

// notice is said, signed.
type notice struct {
	Said      []byte `json:"said"`
	Signature []byte `json:"signature"`
}

type kept struct {
	notice
	at time.Time
}

const (
	protocol bus.Protocol = "twin/1"
	purpose               = "ipdc/twin/v1"
	near                  = 8       // members that are asked
	maxRuns               = 4       // that are kept of one node
	maxNodes              = 4096    // of which some are kept
	maxTalk               = 4 << 10 // bytes of what is left, or shown
	maxSkew               = 5 * time.Minute
)

// New returns a watch that has heard of nobody.
func New(cfg Config) *Watch {
	cfg.Every = cmp.Or(cfg.Every, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Watch{cfg: cfg, self: cfg.Key.ID(), run: rand.Text(), since: cfg.Now(), left: map[identity.ID]map[string]kept{}}
	cfg.Streams.Handle(protocol, w.serve)
	return w
}

// expiry is for how long a process counts after it was heard.
func (w *Watch) expiry() time.Duration { return w.cfg.Every * 7 / 2 }

// Run asks until ctx ends, and returns nil then.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(min(w.cfg.Every, time.Second))
	defer tick.Stop()
	var asked time.Time
	for had := 0; ; {
		peers := w.near()
		if len(peers) > had || time.Since(asked) >= w.cfg.Every {
			w.ask(ctx, peers)
			asked = time.Now()
		}
		had = len(peers)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// near are the connected members that are nearest to this node by SHA-256 XOR: a
// twin, which is connected to others, asks the same ones.
func (w *Watch) near() (ids []identity.ID) {
	for _, p := range w.cfg.Streams.Peers() {
		ids = append(ids, p.ID)
	}
	slices.SortFunc(ids, func(a, b identity.ID) int { return cmp.Compare(w.far(a), w.far(b)) })
	return ids[:min(len(ids), near)]
}

func (w *Watch) far(id identity.ID) string {
	a, b := sha256.Sum256([]byte(w.self)), sha256.Sum256([]byte(id))
	for i := range a {
		a[i] ^= b[i]
	}
	return string(a[:])
}

// ask leaves a notice with members, and takes what they have.
func (w *Watch) ask(ctx context.Context, ids []identity.ID) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Every)
	defer cancel()
	var g errgroup.Group
	for _, id := range ids {
		g.Go(func() error {
			if err := w.askOne(ctx, id); err != nil && ctx.Err() == nil {
				w.cfg.Logger.Debug("twins are not asked for", "node", id.Short(), "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // never fails
}

func (w *Watch) askOne(ctx context.Context, id identity.ID) error {
	s, err := w.cfg.Streams.Stream(ctx, id, protocol)
	if err != nil {
		return err
	}
	defer s.Close()
	deadline, _ := ctx.Deadline()
	if err := s.SetDeadline(deadline); err != nil {
		return err
	}
	b, err := json.Marshal(said{w.run, w.since.UnixMilli(), w.cfg.Now().UnixMilli()})
	if err != nil {
		return err
	}
	if err := errors.Join(json.NewEncoder(s).Encode(notice{b, w.cfg.Key.Sign(purpose, b)}), s.CloseWrite()); err != nil {
		return err
	}
	var shown []notice
	if err := json.NewDecoder(io.LimitReader(s, maxTalk)).Decode(&shown); err != nil {
		return fmt.Errorf("read notices: %w", err)
	}
	for _, n := range shown {
		if x, err := w.read(w.self, n); err == nil {
			w.take(x)
		}
	}
	return nil
}

// read checks that a notice is a node's, and of now.
func (w *Watch) read(id identity.ID, n notice) (x said, err error) {
	if err := identity.Verify(id, purpose, n.Said, n.Signature); err != nil {
		return x, err
	}
	if err := json.Unmarshal(n.Said, &x); err != nil {
		return x, err
	}
	if off := w.cfg.Now().Sub(time.UnixMilli(x.Now)); off > maxSkew || off < -maxSkew || x.Run == "" {
		return x, fmt.Errorf("it is of %s", time.UnixMilli(x.Now))
	}
	return x, nil
}

// take notes a process of this node's id that began before this one and has said
// something new since.
func (w *Watch) take(x said) {
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.since.UnixMilli()
	if x.Run == w.run || x.Now <= since || cmp.Or(cmp.Compare(x.Since, since), cmp.Compare(x.Run, w.run)) > 0 {
		return
	}
	if x.Run == w.other.Run && x.Now <= w.other.Now {
		return // heard before
	}
	if x.Run != w.other.Run {
		w.cfg.Logger.Error("another process works under this node's identity, and began earlier: this one takes no work", "began", time.UnixMilli(x.Since).UTC())
	}
	w.other, w.heard = x, time.Now()
}

// Check returns why this process takes no work: another one with its identity is
// at work, and began earlier. The error is of kind E_CONFLICT.
func (w *Watch) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard.IsZero() || time.Since(w.heard) > w.expiry() {
		return nil
	}
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Where: "node", Detail: fmt.Sprintf("another process works under this node's identity, since %s", time.UnixMilli(w.other.Since).UTC().Format(time.RFC3339)),
		Hint: "stop one of the two; a copied state directory is no second node: remove identity.key and the domain from the copy, and have it join the domain anew (ipdc domain join)",
	}.Error()
}

// serve keeps what a member leaves, and shows it what others left under its id.
func (w *Watch) serve(_ context.Context, s bus.Stream) {
	_ = s.SetDeadline(time.Now().Add(w.cfg.Every))
	var n notice
	if err := json.NewDecoder(io.LimitReader(s, maxTalk)).Decode(&n); err != nil {
		return
	}
	x, err := w.read(s.Peer(), n)
	if err != nil {
		w.cfg.Logger.Debug("notice refused", "node", s.Peer().Short(), "err", err)
		return
	}
	_ = json.NewEncoder(s).Encode(w.swap(s.Peer(), x.Run, n))
}

func (w *Watch) swap(id identity.ID, run string, n notice) (others []notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := func(k kept) bool { return time.Since(k.at) > w.expiry() }
	runs := w.left[id]
	maps.DeleteFunc(runs, func(_ string, k kept) bool { return old(k) })
	if runs == nil {
		if len(w.left) >= maxNodes {
			clear(w.left) // they come again
		}
		runs = map[string]kept{}
		w.left[id] = runs
	}
	others = []notice{}
	for other, k := range runs {
		if other != run {
			others = append(others, k.notice)
		}
	}
	if _, known := runs[run]; known || len(runs) < maxRuns {
		runs[run] = kept{n, time.Now()}
	}
	return others
}
