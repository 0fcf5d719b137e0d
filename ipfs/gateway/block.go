package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// rounds is how often the gateways are asked for one block while some of them
// are busy.
const rounds = 3

// Block returns the verified bytes of a block. The error is of kind
// E_CID_HASH when id is not of a trusted hash function, E_FETCH_TIMEOUT when
// no gateway gave it in Config.Wait; it names each of them with its reason.
func (c *Client) Block(ctx context.Context, id jobspec.CID) ([]byte, error) {
	if data, inline, err := dag.Inline(id); inline || err != nil {
		return data, err
	}
	release, err := c.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	data, _, err := c.block(ctx, id, c.cfg.Wait)
	return data, err
}

// slot waits for one of the places for fetches.
func (c *Client) slot(ctx context.Context) (release func(), err error) {
	select {
	case c.slots <- struct{}{}:
		return func() { <-c.slots }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// block asks the gateways until one gives the block, and returns which one.
func (c *Client) block(ctx context.Context, id jobspec.CID, wait time.Duration) ([]byte, *gateway, error) {
	r := &race{Client: c, id: id, wait: wait, end: time.Now().Add(wait), answers: map[*gateway]error{}}
	for n := range rounds {
		data, g, err := r.round(ctx)
		if data != nil || err != nil {
			return data, g, err
		}
		pause := 500 * time.Millisecond << n
		pause += rand.N(pause)
		if !r.busy() || n == rounds-1 || time.Until(r.end) < pause {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	return nil, nil, r.failure()
}

// race is the search for one block.
type race struct {
	*Client
	id      jobspec.CID
	wait    time.Duration
	end     time.Time
	answers map[*gateway]error // the last refusal of each that was asked
}

type answer struct {
	from *gateway
	data []byte
	err  error
}

// round asks the gateways one after the other. One that takes more than its
// share of the time is left running while the next is asked. The first
// verified block wins; nil means that nobody gave it. The error is ctx's.
func (r *race) round(ctx context.Context) ([]byte, *gateway, error) {
	late, cancel := context.WithDeadline(ctx, r.end)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	order := r.order()
	answers := make(chan answer, len(order))
	open := map[*gateway]bool{}
	share := time.Until(r.end) / time.Duration(len(order))
	patience := time.NewTimer(share)
	defer patience.Stop()
	for next := 0; next < len(order) || len(open) > 0; {
		if next < len(order) {
			g := order[next]
			asked.Go(func() {
				data, err := g.block(late, r.id, r.verify)
				answers <- answer{g, data, err}
			})
			open[g] = true
			next++
			patience.Reset(share)
		}
		select {
		case a := <-answers:
			delete(open, a.from)
			if a.err == nil {
				a.from.judge(fine)
				return a.data, a.from, nil
			}
			r.note(a)
		case <-patience.C:
			r.slow(open)
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-late.Done():
			r.slow(open)
			return nil, nil, nil
		}
	}
	return nil, nil, nil
}

// slow notes the gateways that have not answered in their share of the time.
func (r *race) slow(open map[*gateway]bool) {
	for g := range open {
		r.answers[g] = &refusal{slow, fmt.Errorf("no answer in %s", r.wait.Round(time.Millisecond))}
		g.judge(slow)
	}
}

func (r *race) note(a answer) {
	var why *refusal
	if !errors.As(a.err, &why) || errors.Is(a.err, context.DeadlineExceeded) {
		return // noted as slow when its share was over
	}
	r.answers[a.from] = why
	a.from.judge(why.verdict)
	if why.verdict == lied {
		r.log.Warn("gateway lies", "gateway", a.from, "cid", r.id, "err", why)
	}
}

// busy says whether it is worth asking again.
func (r *race) busy() bool {
	for _, err := range r.answers {
		var why *refusal
		if errors.As(err, &why) && why.verdict == busy {
			return true
		}
	}
	return false
}

// failure names the gateways that were asked, each with its reason.
func (r *race) failure() error {
	var asked []string
	for _, g := range r.gateways {
		if err := r.answers[g]; err != nil {
			asked = append(asked, fmt.Sprintf("%s (%v)", g, err))
		}
	}
	return jobspec.Failure{
		Kind:   jobspec.KindFetchTimeout,
		Detail: fmt.Sprintf("block %s is not stored here and no gateway gave it; asked %s", r.id, strings.Join(asked, ", ")),
		Hint:   "check the CID, add the data here (ipdc add PATH), or name another gateway: ipdc node start --gateway URL",
	}.Error()
}
