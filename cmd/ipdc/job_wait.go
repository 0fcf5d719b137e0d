package main

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

// wait is [client.Client.Wait], which says what the job itself waits for where
// that takes more than a moment.
func (a *app) wait(ctx context.Context, c *client.Client, ref string) (wire.Job, error) {
	over, end := context.WithCancel(ctx)
	var saying sync.WaitGroup
	saying.Go(func() { a.sayWaiting(over, c, ref) })
	defer saying.Wait()
	defer end()
	return c.Wait(ctx, ref)
}

// sayWaiting tells each new reason until ctx ends.
func (a *app) sayWaiting(ctx context.Context, c *client.Client, ref string) {
	tick := time.NewTicker(cmp.Or(a.sayEvery, 3*time.Second))
	defer tick.Stop()
	for said := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		j, err := c.Job(ctx, ref)
		if err != nil {
			continue
		}
		ref = j.ID.String() // @last may be another one by now
		if j.Waiting != said && j.Waiting != "" {
			said = j.Waiting
			a.say("job %s %s", j.ID, visible(said))
		}
	}
}
