package sidecar

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// target is the node that an attempt goes to: the task's holder, or whom spare
// finds in its place, which is this node when there is no other. It waits while
// nobody may run the task.
func (c *course) target(ctx context.Context) (identity.ID, error) {
	holder := identity.ID(c.task.Holder)
	if holder == "" || holder == c.Sidecar.id || c.cfg.Post == nil || c.job.Origin != nil {
		return c.Sidecar.id, nil
	}
	for tries := 1; ; tries++ {
		if c.asks(holder) {
			return holder, nil
		}
		if node, ok := c.spare(ctx, false); ok || ctx.Err() != nil {
			return node, context.Cause(ctx)
		}
		c.waits(ctx, fmt.Sprintf("task %d waits for a member that may run it: its holder %s was lost or did not take it", c.task.Index, holder.Short()))
		pause(ctx, tries)
		c.forgive()
	}
}

// spare finds a node for another attempt: of those that make none of the task
// and may be asked, the one that holds most of its input; of equals one with
// room, then the nearest by hash. With idle it has to have room now.
func (c *course) spare(ctx context.Context, idle bool) (identity.ID, bool) {
	made := c.makers()
	room := func(s *site) bool { return c.job.Spec.Resources.Slots(s.peer.Free) > 0 }
	may := func(s *site) bool {
		return !made[s.id] && (s.id == c.Sidecar.id || c.asks(s.id)) && (!idle || room(s))
	}
	all := c.sites(c.job, c.plan)
	list := all.open().that(may)
	if len(list) == 0 {
		list = all.late().that(may)
	}
	u := unit{work: &work{}}
	if len(list) > 0 && c.task.Shard.Defined() && (len(list) > 1 || c.job.Spec.Place.LocalOnly()) {
		if w, err := c.holders(ctx, list); err == nil {
			u = w.whole()
		} else if c.log.Info("look for another holder", "job", c.id, "task", c.task.Index, "err", err); c.job.Spec.Place.LocalOnly() {
			return "", false
		}
	}
	if c.job.Spec.Place.LocalOnly() {
		list = list.holding(u)
	}
	if len(list) == 0 {
		return "", false
	}
	return slices.MinFunc(list, func(a, b *site) int {
		if n := cmp.Compare(u.heldBy(b), u.heldBy(a)); n != 0 {
			return n
		}
		if room(a) != room(b) {
			return boolInt(room(b)) - boolInt(room(a))
		}
		return strings.Compare(c.far(a), c.far(b))
	}).id, true
}

// holders asks who holds what of the task's input.
func (c *course) holders(ctx context.Context, list sites) (*work, error) {
	one := c.plan
	one.Tasks = []jobspec.Task{c.task}
	w, err := c.workOf(ctx, c.st, one)
	if err != nil {
		return nil, err
	}
	return w, c.locate(ctx, list, w)
}

// whole is all of a work as one unit.
func (w *work) whole() unit {
	u := unit{work: w}
	for i, size := range w.sizes {
		u.parts, u.found = append(u.parts, i), u.found+size
	}
	return u
}

// far orders nodes by task, so that those of a lost member go to many.
func (c *course) far(s *site) string {
	return distance(s.id, jobspec.JobID(fmt.Sprintf("%s/%d", c.id, c.task.Index)))
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// makers are the nodes that make an attempt of the task now.
func (c *course) makers() map[identity.ID]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := map[identity.ID]bool{}
	for _, s := range c.at {
		nodes[s.node] = true
	}
	return nodes
}

// asks says whether a member may be asked to take the task.
func (c *course) asks(node identity.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.shunned[node] && !c.shy.is(node, c.now())
}

// shun keeps the task's later attempts away from a member, and those of other
// tasks for a while.
func (c *course) shun(node identity.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shunned[node] = true
	c.shy.add(node, c.now())
}

// forgive lets members that are not shy any more be asked again.
func (c *course) forgive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.shunned, func(id identity.ID, _ bool) bool { return !c.shy.is(id, c.now()) })
}

// shy are members that did not take a task, or were lost with one. They are not
// asked again at once: for ten seconds, and twice as long each time that they
// do it again, up to five minutes, until they take one.
type shy struct {
	mu sync.Mutex
	of map[identity.ID]pauseOf
}

type pauseOf struct {
	until time.Time
	long  time.Duration
}

const (
	shyAtFirst = 10 * time.Second
	shyAtMost  = 5 * time.Minute
)

func (s *shy) add(id identity.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[identity.ID]pauseOf{}
	}
	p := s.of[id]
	if now.Before(p.until) && p.until.Sub(now) <= p.long {
		return // of the same time: many tasks hear of it at once
	}
	p.long = min(max(2*p.long, shyAtFirst), shyAtMost)
	p.until = now.Add(p.long)
	s.of[id] = p
}

func (s *shy) took(id identity.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, id)
}

func (s *shy) is(id identity.ID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of[id]
	return now.Before(p.until) && p.until.Sub(now) <= p.long // else the clock was set back
}
