package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Blocks is how blocks move between members.
type Blocks interface {
	// Offer gives a block to members that ask for it, for some time. Nothing
	// is stored.
	Offer(data []byte, till time.Duration) (jobspec.CID, error)
	// Fetch gets a block of another member.
	Fetch(ctx context.Context, c jobspec.CID) ([]byte, error)
}

const (
	typeProbe bus.Type = "probe"
	probeSize          = 64 << 10
	probeTime          = 20 * time.Second // for one member
	probes             = 4                // answered at once
	abreast            = 8                // members that are asked at once
)

// probe asks a member to fetch a block of ours and to offer one of its own;
// the answer names that one.
type probe struct {
	Block jobspec.CID `json:"block"`
}

// Prober moves random blocks between this node and others, to show that it can
// be done.
type Prober struct {
	post   *bus.Post
	blocks Blocks
	slots  chan struct{}
}

// NewProber returns a prober that answers the probes of others, too. It is made
// before post runs.
func NewProber(post *bus.Post, blocks Blocks) *Prober {
	p := &Prober{post, blocks, make(chan struct{}, probes)}
	bus.Answer(post, typeProbe, p.answer)
	return p
}

func (p *Prober) answer(ctx context.Context, _ bus.Letter, q probe) (probe, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return probe{}, jobspec.KindLimit.Errorf("%d probes are answered at once, and as many are", probes)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	data, err := p.blocks.Fetch(ctx, q.Block)
	if err != nil {
		return probe{}, err
	}
	if len(data) > probeSize {
		return probe{}, jobspec.KindLimitBytes.Errorf("a probe of %d bytes, at most %d are moved", len(data), probeSize)
	}
	c, err := p.blocks.Offer(noise(), probeTime)
	return probe{c}, err
}

func noise() []byte {
	b := make([]byte, probeSize)
	_, _ = rand.Read(b) // never fails
	return b
}

// Probe moves a block to each of these members and one back.
func (p *Prober) Probe(ctx context.Context, members []identity.ID) []wire.Probe {
	list := make([]wire.Probe, len(members))
	var wg sync.WaitGroup
	room := make(chan struct{}, abreast)
	for i, id := range members {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			list[i] = p.one(ctx, id)
		})
	}
	wg.Wait()
	return list
}

func (p *Prober) one(ctx context.Context, id identity.ID) wire.Probe {
	r := wire.Probe{ID: id.String(), Bytes: probeSize}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	there, err := p.there(ctx, id)
	if err != nil {
		r.Problem = "the member did not get our block: " + why(err)
		return r
	}
	r.There = there.took
	begun := time.Now()
	data, err := p.blocks.Fetch(ctx, there.block)
	switch {
	case err != nil:
		r.Problem = "we did not get the member's block: " + why(err)
	case len(data) != probeSize:
		r.Problem = "the member's block has another size than ours"
	default:
		r.Back = jobspec.Duration(time.Since(begun))
	}
	return r
}

type arrival struct {
	took  jobspec.Duration
	block jobspec.CID
}

func (p *Prober) there(ctx context.Context, id identity.ID) (arrival, error) {
	c, err := p.blocks.Offer(noise(), probeTime)
	if err != nil {
		return arrival{}, err
	}
	begun := time.Now()
	a, err := bus.Request[probe](ctx, p.post, id, typeProbe, probe{c})
	if err == nil && !a.Block.Defined() {
		err = errors.New("its answer names no block")
	}
	return arrival{jobspec.Duration(time.Since(begun)), a.Block}, err
}

func why(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in " + probeTime.String()
	}
	return err.Error()
}
