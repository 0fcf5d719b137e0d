package sidecar

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// placer hands out the node's capacity. Tasks wait in the order of their jobs'
// submission; the first in line is never overtaken, so that a large task is
// not starved by small ones. While the machine is busy with other programs one
// task at a time starts: jobs step back, and none waits for ever.
type placer struct {
	mu    sync.Mutex
	total wire.Capacity
	free  wire.Capacity
	line  []*ticket                         // by attempt order
	busy  func(memory jobspec.Bytes) string // why the machine has nothing to spare for so much; "" = it has
	held  time.Time                         // since when the first in line waits for the machine alone; zero = it does not
	fresh [2]jobspec.Bytes                  // granted since the last look of watch, and since the one before: not used yet, perhaps
}

// heldFor bounds how long the first in line waits for a busy machine while
// something of ours runs: that may be a task without an end.
const heldFor = 5 * time.Minute

type ticket struct {
	id      jobspec.AttemptID
	need    jobspec.Resources
	granted chan struct{} // closed by grant
}

func newPlacer(total wire.Capacity, busy func(jobspec.Bytes) string) *placer {
	if busy == nil {
		busy = func(jobspec.Bytes) string { return "" }
	}
	return &placer{total: total, free: total, busy: busy}
}

// watch lets tasks go on that wait for the machine to be less busy, each time
// the interval has passed, until ctx ends.
func (p *placer) watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		p.fresh = [2]jobspec.Bytes{0, p.fresh[0]}
		p.grant()
		p.mu.Unlock()
	}
}

// acquire waits until r is free for the attempt and all earlier ones have been
// served. waiting is called once, with a sentence, when it has to wait.
func (p *placer) acquire(ctx context.Context, id jobspec.AttemptID, r jobspec.Resources, waiting func(string)) error {
	t := &ticket{id, r, make(chan struct{})}
	p.mu.Lock()
	i, _ := slices.BinarySearchFunc(p.line, t, compareTickets)
	p.line = slices.Insert(p.line, i, t)
	p.grant()
	why := p.why(r)
	p.mu.Unlock()
	select {
	case <-t.granted:
		return nil
	default:
		waiting(why)
	}
	select {
	case <-t.granted:
		return nil
	case <-ctx.Done():
		return p.withdraw(t, context.Cause(ctx))
	}
}

// queue puts what tasks need into the line and returns without waiting. The
// caller ends it with leave.
func (p *placer) queue(id jobspec.AttemptID, r jobspec.Resources) *ticket {
	t := &ticket{id, r, make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	i, _ := slices.BinarySearchFunc(p.line, t, compareTickets)
	p.line = slices.Insert(p.line, i, t)
	p.grant()
	return t
}

// leave takes t out of the line, or gives back what is left of its grant.
func (p *placer) leave(t *ticket, left jobspec.Resources) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.line, t); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
	} else {
		p.add(left, 1)
	}
	p.grant()
}

// never says why the whole node has no room for n tasks of r, or "". Where it
// has, what they need together is no more than the node has, and overflows
// nothing.
func (p *placer) never(r jobspec.Resources, n int) string {
	if r.Slots(jobspec.Resources(p.total)) >= n {
		return ""
	}
	return fmt.Sprintf("each asks for CPU %s, memory %s, disk %s, %d GPUs; the node has %s, %s, %s, %d",
		r.CPU, r.Memory, r.Disk, r.GPU, p.total.CPU, p.total.Memory, p.total.Disk, p.total.GPU)
}

// lacks is what a task in line waits for.
func (p *placer) lacks(r jobspec.Resources) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why(r)
}

// take reserves r at once, for an attempt whose container runs already.
func (p *placer) take(r jobspec.Resources) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(r, -1)
}

func (p *placer) release(r jobspec.Resources) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(r, 1)
	p.grant()
}

func (p *placer) withdraw(t *ticket, cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.line, t); i >= 0 {
		p.line = slices.Delete(p.line, i, i+1)
	} else {
		p.add(t.need, 1) // granted in the meantime
	}
	p.grant()
	return cause
}

func (p *placer) grant() {
	for len(p.line) > 0 && p.fits(p.line[0].need) {
		if p.spared(p.line[0].need) == "" {
			p.held = time.Time{}
		} else if p.held.IsZero() {
			p.held = time.Now()
			return
		} else if time.Since(p.held) < heldFor {
			return
		} else {
			p.held = time.Now() // the next one waits as long
		}
		p.add(p.line[0].need, -1)
		p.fresh[0] += p.line[0].need.Memory
		close(p.line[0].granted)
		p.line = p.line[1:]
	}
}

func (p *placer) fits(r jobspec.Resources) bool {
	return r.CPU <= p.free.CPU && r.Memory <= p.free.Memory && r.Disk <= p.free.Disk && r.GPU <= p.free.GPU
}

// spared says why r has to wait for the machine's other programs.
func (p *placer) spared(r jobspec.Resources) string {
	if p.free == p.total {
		return "" // nothing runs
	}
	return p.busy(r.Memory + p.fresh[0] + p.fresh[1])
}

func (p *placer) add(r jobspec.Resources, sign int64) {
	p.free.CPU += r.CPU * jobspec.CPU(sign)
	p.free.Memory += r.Memory * jobspec.Bytes(sign)
	p.free.Disk += r.Disk * jobspec.Bytes(sign)
	p.free.GPU += r.GPU * int(sign)
}

func (p *placer) snapshot() wire.Capacity {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free
}

// offer is what is free for tasks from elsewhere: nothing while one runs on a
// machine that is busy, or short of memory.
func (p *placer) offer() wire.Capacity {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spared(jobspec.Resources{}) != "" {
		return wire.Capacity{}
	}
	return p.free
}

// waiting is the number of tasks in line.
func (p *placer) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.line)
}

// why says what a task waits for, with numbers.
func (p *placer) why(r jobspec.Resources) string {
	var short []string
	if r.CPU > p.free.CPU {
		short = append(short, fmt.Sprintf("CPU: asks %s, free %s", r.CPU, max(p.free.CPU, 0)))
	}
	if r.Memory > p.free.Memory {
		short = append(short, fmt.Sprintf("memory: asks %s, free %s", r.Memory, max(p.free.Memory, 0)))
	}
	if r.Disk > p.free.Disk {
		short = append(short, fmt.Sprintf("disk: asks %s, free %s", r.Disk, max(p.free.Disk, 0)))
	}
	if r.GPU > p.free.GPU {
		short = append(short, fmt.Sprintf("GPUs: asks %d, free %d", r.GPU, max(p.free.GPU, 0)))
	}
	if len(short) == 0 {
		if busy := p.spared(r); busy != "" {
			return "waits: " + busy + "; one task at a time starts meanwhile"
		}
		return "waits for earlier jobs"
	}
	return "waits for " + strings.Join(short, "; ")
}

// outlook says whether a task of r would start now.
func (p *placer) outlook(r jobspec.Resources) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fits(r) && p.spared(r) == "" && len(p.line) == 0 {
		return "the first one could start now"
	}
	return "the first one " + p.why(r)
}

// slots returns how many tasks of r the whole node runs at once, at least 1.
func (p *placer) slots(r jobspec.Resources) int {
	return max(r.Slots(jobspec.Resources(p.total)), 1)
}

func compareTickets(a, b *ticket) int {
	if c := strings.Compare(string(a.id.Job), string(b.id.Job)); c != 0 {
		return c
	}
	if a.id.Task != b.id.Task {
		return a.id.Task - b.id.Task
	}
	return a.id.Try - b.id.Try
}
