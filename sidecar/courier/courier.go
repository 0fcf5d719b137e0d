// Package courier does what a spec asks for at the end of its job: it sends
// the files of the result to other places, and tells others how the job ended.
//
//	c := courier.New(courier.Config{Store: st, IPFS: node, Outlets: permitted, Dir: dir})
//	err := c.Run(ctx)
//	c.Wake() // after deliveries were stored, in the transaction that ends a job
//
// Invariants: what is stored is tried until it is done, has failed for good, or
// its job is removed, whatever happens to this process; a place may be told the
// same thing more than once, and nothing is said to be done that is not; where
// something goes is only where the node's administrator permits it, who is
// asked each time.
package courier

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/internal/failpoint"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// How often something is tried. With pauses that double from ten seconds to an
// hour, a place may be away for a night.
const (
	tries     = 16
	maxPause  = time.Hour
	lookAhead = 64           // deliveries of a kind that are read at once
	farthest  = 2 * maxPause // what waits for longer was told to by a clock that was ahead, and is due
)

// Outlets says who may send where, and how. The error is of kind E_POLICY when
// nobody permits it, else what is wrong with the permission.
type Outlets interface {
	Store(who Who, to jobspec.Outlet) (delivery.Store, error)
	Receiver(who Who, to jobspec.Outlet) (delivery.Receiver, error)
}

// Who is whose job it is that sends.
type Who struct {
	Tenant string
	Member bool // the job came here from another member, whose word the tenant is
}

// whose says whose job it is. What the keepers granted to this node after
// another owner, and what a member handed over, is a member's.
func whose(job jobspec.Job) Who {
	return Who{job.Tenant, job.Tenure != nil && job.Tenure.Epoch > 1 || strings.HasPrefix(job.Tenant, memberTenant)}
}

// memberTenant begins the tenant of the jobs that members have handed over.
const memberTenant = "member:"

// atOnce is how many deliveries of a kind are under way, so that results that
// take hours hold up no message.
var atOnce = map[jobspec.DeliveryKind]int{jobspec.DeliverPublish: 4, jobspec.DeliverNotify: 8}

// Config is what a Courier is made of. All fields without a default are
// required.
type Config struct {
	Store   *store.Store
	IPFS    ipfs.Getter
	Outlets Outlets
	Dir     string                               // for a file without a name while a result is sent
	Node    string                               // peer id, which messages name
	Budget  ipfs.Budget                          // of a result's DAG; default as ipfs has it
	Logger  *slog.Logger                         // default slog.Default
	Now     func() time.Time                     // default time.Now
	Pause   time.Duration                        // before the second try; default 10 s
	After   func(time.Duration) <-chan time.Time // default time.After
}

// Courier delivers. Its methods are safe for concurrent use.
type Courier struct {
	cfg  Config
	wake chan struct{} // one element
}

// New returns a courier; it does no I/O.
func New(cfg Config) *Courier {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Pause <= 0 {
		cfg.Pause = 10 * time.Second
	}
	if cfg.After == nil {
		cfg.After = time.After
	}
	return &Courier{cfg: cfg, wake: make(chan struct{}, 1)}
}

// Wake makes Run look at once.
func (c *Courier) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and returns nil then.
func (c *Courier) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	busy := newBusy()
	for {
		wait, err := c.begin(ctx, &work, busy)
		if err != nil && ctx.Err() == nil {
			c.cfg.Logger.Warn("look for deliveries", "err", err)
			wait = c.cfg.Pause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-busy.freed:
		case <-c.cfg.After(wait):
		}
	}
}

// begin starts what is due, as far as there is room, and returns how long the
// next one has to wait.
func (c *Courier) begin(ctx context.Context, work *sync.WaitGroup, busy *busy) (time.Duration, error) {
	wait := maxPause
	for kind := range atOnce {
		var due []store.Due
		err := c.cfg.Store.View(ctx, func(tx *store.Tx) error {
			odd, err := tx.DueDeliveries(kind, c.cfg.Now().Add(farthest), lookAhead)
			if err != nil {
				return err
			}
			due, err = tx.DueDeliveries(kind, time.Time{}, lookAhead)
			due = append(odd, due...)
			return err
		})
		if err != nil {
			return wait, err
		}
		for _, d := range due {
			if left := d.Next.Sub(c.cfg.Now()); left > 0 && left < farthest {
				wait = min(wait, left)
				break
			}
			if busy.take(d) {
				work.Go(func() {
					defer busy.free(d)
					c.attempt(ctx, d)
				})
			}
		}
	}
	return wait, nil
}

// busy bounds what is under way, and holds what that is.
type busy struct {
	freed chan struct{} // one element
	mu    sync.Mutex
	of    map[key]bool
}

type key struct {
	kind jobspec.DeliveryKind
	job  jobspec.JobID
	n    int
}

func newBusy() *busy { return &busy{freed: make(chan struct{}, 1), of: map[key]bool{}} }

func (b *busy) take(d store.Due) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for k := range b.of {
		if k.kind == d.Kind {
			n++
		}
	}
	k := key{d.Kind, d.Job, d.N}
	if n >= atOnce[d.Kind] || b.of[k] {
		return false
	}
	b.of[k] = true
	return true
}

func (b *busy) free(d store.Due) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, key{d.Kind, d.Job, d.N})
	select {
	case b.freed <- struct{}{}:
	default:
	}
}

// attempt tries d once and stores how that ended.
func (c *Courier) attempt(ctx context.Context, d store.Due) {
	log := c.cfg.Logger.With("job", d.Job, "to", d.To)
	failpoint.Hit("delivery.before-effect")
	next, err := c.deliver(ctx, d)
	failpoint.Hit("delivery.after-effect")
	switch {
	case ctx.Err() != nil:
		return // the next process tries again
	case errors.Is(err, jobspec.KindNotFound.Error()), errors.Is(err, errOver):
		return // the job was removed, or a try of the same ended since it was looked for
	case err == nil:
		next.State, next.Next, next.Ended = jobspec.DeliveryDone, time.Time{}, c.now()
		log.Info("delivered", "kind", d.Kind, "files", next.Files, "bytes", int64(next.Bytes))
	default:
		next = c.failed(next, err)
		log.Warn("deliver", "kind", d.Kind, "try", next.Tries, "state", next.State, "err", err)
	}
	c.record(ctx, d, next, log)
	failpoint.Hit("delivery.after-completion")
}

// record stores how a try ended, until that is possible: what is not recorded
// would be done again at once.
func (c *Courier) record(ctx context.Context, d store.Due, next jobspec.Delivery, log *slog.Logger) {
	for {
		err := c.put(ctx, d, next)
		if err == nil || errors.Is(err, jobspec.KindNotFound.Error()) {
			return
		}
		log.Error("record delivery", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-c.cfg.After(c.cfg.Pause):
		}
	}
}

func (c *Courier) put(ctx context.Context, d store.Due, next jobspec.Delivery) error {
	return c.cfg.Store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.PutDelivery(d.Job, d.N, next) })
}

// failed returns d after a try that err ended.
func (c *Courier) failed(d jobspec.Delivery, err error) jobspec.Delivery {
	d.Why = clip(jobspec.AsFailure(err).Detail)
	if d.Tries++; d.Tries >= tries {
		d.State, d.Next, d.Ended = jobspec.DeliveryFailed, time.Time{}, c.now()
		return d
	}
	pause := min(c.cfg.Pause<<(d.Tries-1), maxPause)
	pause += time.Duration(rand.Int64N(int64(pause)/4 + 1)) // so that many do not come back at once
	d.Next = c.now().Add(pause.Truncate(time.Millisecond))
	return d
}

func (c *Courier) now() time.Time { return c.cfg.Now().UTC().Truncate(time.Millisecond) }

// maxWhy is how much of what a place said is kept, in bytes.
const maxWhy = 500

func clip(s string) string {
	if len(s) > maxWhy {
		s = s[:maxWhy] + "..."
	}
	return s
}

// errOver says that a delivery is not any more as it was when it was due.
var errOver = errors.New("it was delivered, or tried, meanwhile")

// deliver tries d once, and returns it with what has come to its place.
func (c *Courier) deliver(ctx context.Context, d store.Due) (jobspec.Delivery, error) {
	var job jobspec.Job
	err := c.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		if job, err = tx.Job(d.Job); err != nil {
			return err
		}
		now, err := tx.Deliveries(d.Job)
		if err == nil && (d.N >= len(now) || now[d.N] != d.Delivery) {
			err = errOver
		}
		return err
	})
	if err != nil {
		return d.Delivery, err
	}
	if d.Kind == jobspec.DeliverNotify {
		return d.Delivery, c.tell(ctx, d, job)
	}
	return c.publish(ctx, d, job)
}

// Permits returns what of a spec's outlets a tenant of this node may not use,
// nil for nothing.
func (c *Courier) Permits(tenant string, spec jobspec.Spec) error {
	who := whose(jobspec.Job{Tenant: tenant})
	for _, text := range spec.Publish {
		to, err := jobspec.ParsePublish(text)
		if err == nil {
			_, err = c.cfg.Outlets.Store(who, to)
		}
		if err != nil {
			return err
		}
	}
	for _, text := range spec.Notify {
		to, err := jobspec.ParseNotify(text)
		if err == nil {
			_, err = c.cfg.Outlets.Receiver(who, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
