package bus

import "context"

// What the tests of envelopes take apart.
var (
	Seal   = seal
	Unseal = unseal
)

// Remembered returns how many messages p remembers.
func (p *Post) Remembered() int {
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	return p.seen.size
}

// Take receives d and handles it at once.
func (p *Post) Take(ctx context.Context, d Delivery) {
	if _, work := p.receive(ctx, d); work != nil {
		work()
	}
}
