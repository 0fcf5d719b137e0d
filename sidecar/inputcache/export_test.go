package inputcache

import "github.com/ipdc/ipdc/jobspec"

// Waiters returns how many callers wait for root.
func (c *Cache) Waiters(root jobspec.CID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[root]; f != nil {
		return f.waiters
	}
	return 0
}
