package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Crew knows the other members of the domain.
type Crew interface {
	// Live returns those that were heard of lately, in any order. They are
	// hints: a lease decides.
	Live() []Peer
	// Gather waits while members are about to be heard, as when this node has
	// just started; for some seconds at most. It reports whether it waited.
	Gather(ctx context.Context) bool
}

// Peer is another member, as it says of itself.
type Peer struct {
	ID       identity.ID
	Arch     string
	Labels   map[string]string
	Capacity jobspec.Resources // of all tasks together
	Free     jobspec.Resources // of it, when it last said so
	Draining bool              // it takes nothing new
	Busy     bool              // other programs use its machine: it begins one task at a time
	Strict   string            // what gives strict jobs a kernel of their own; "" = nothing
}

// The messages between the owner of a job and who runs its tasks; wire has
// their bodies.
const (
	typeAssign bus.Type = "assign"
	typeBeat   bus.Type = "beat"
	typeReport bus.Type = "report"
	typeRevoke bus.Type = "revoke"
	typeHolds  bus.Type = "holds"
	typeTail   bus.Type = "tail"

	typeReserve   bus.Type = "reserve"
	typeUnreserve bus.Type = "unreserve"
	typeGate      bus.Type = "gate"

	typeHand        bus.Type = "hand"
	typeHandedState bus.Type = "handed-state"
	typeKeep        bus.Type = "keep"
)

// maxMessageFile bounds a file that stands for a message, and the sum of those
// that are in memory at once.
const maxMessageFile = 64 << 20

// readFor bounds the time to get such a file, for which others wait.
const readFor = time.Minute

// awaitCrew waits for members that are about to be heard, if there are any.
func (s *Sidecar) awaitCrew(ctx context.Context) bool {
	return s.cfg.Crew != nil && s.cfg.Crew.Gather(ctx)
}

// gathered checks what depends on who lives, and again when it was refused while
// members were about to be heard.
func (s *Sidecar) gathered(ctx context.Context, check func() error) error {
	err := check()
	if err != nil && s.awaitCrew(ctx) {
		err = check()
	}
	return err
}

// listen takes the messages of other members.
func (s *Sidecar) listen() {
	if s.cfg.Post == nil {
		return
	}
	bus.Answer(s.cfg.Post, typeAssign, s.assigned)
	bus.Handle(s.cfg.Post, typeRevoke, s.revoked)
	bus.Answer(s.cfg.Post, typeHolds, s.holds)
	bus.Answer(s.cfg.Post, typeBeat, s.beaten)
	bus.Answer(s.cfg.Post, typeReport, s.reported)
	bus.Answer(s.cfg.Post, typeTail, s.tailed)
	bus.Answer(s.cfg.Post, typeReserve, s.seated)
	bus.Handle(s.cfg.Post, typeUnreserve, s.unseat)
	bus.Handle(s.cfg.Post, typeGate, s.gateMoved)
	bus.Answer(s.cfg.Post, typeHand, s.taken)
	bus.Answer(s.cfg.Post, typeHandedState, s.handedState)
	bus.Answer(s.cfg.Post, typeHold, s.keepCopy)
	bus.Answer(s.cfg.Post, typeAudit, s.audit)
	bus.Handle(s.cfg.Post, typeUnaudited, s.unaudited)
	bus.Answer(s.cfg.Post, typeKeep, s.keepFor)
}

// publishJSON stores v as a file under a pin of the job, for others to read.
func (s *Sidecar) publishJSON(ctx context.Context, pin string, v any) (jobspec.CID, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return jobspec.CID{}, fmt.Errorf("encode %T: %w", v, err)
	}
	return s.cfg.IPFS.Add(ctx, pin, func(w ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(ctx, w, bytes.NewReader(b))
		return c, err
	})
}

// readJSON reads what another member stored with publishJSON.
func (s *Sidecar) readJSON(ctx context.Context, c jobspec.CID, v any) error {
	budget := ipfs.Budget{Bytes: maxMessageFile}
	var size int64 // as its first block says, which Copy proves
	err := tree.Walk(ctx, s.cfg.IPFS, c, budget, func(e tree.Entry) error {
		if size = e.Size; e.Kind == tree.Dir {
			return tree.SkipDir
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.messages.Acquire(ctx, size); err != nil {
		return causeOr(ctx, err)
	}
	defer s.messages.Release(size)
	ctx, cancel := context.WithTimeoutCause(ctx, readFor, jobspec.KindFetchTimeout.Errorf("the %d bytes of file %s did not come within %s", size, c, readFor))
	defer cancel()
	b := bytes.NewBuffer(make([]byte, 0, size))
	if _, err := tree.Copy(ctx, s.cfg.IPFS, c, b, budget); err != nil {
		return causeOr(ctx, err)
	}
	if err := json.Unmarshal(b.Bytes(), v); err != nil {
		return jobspec.KindSpec.Errorf("file %s is not a %T: %v", c, v, err)
	}
	return nil
}

// leaseLost is the refusal that ends an attempt elsewhere.
func leaseLost(attempt string) error {
	return jobspec.Failure{Kind: jobspec.KindLeaseLost, Where: "attempt " + attempt, Detail: "is not wanted any more"}.Error()
}

func isLeaseLost(err error) bool { return errors.Is(err, jobspec.KindLeaseLost.Error()) }
