package twin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Knows returns how many processes of a node have left something here.
func (w *Watch) Knows(id identity.ID) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.left[id])
}

// Shows makes w answer everybody with a notice of another process, and tells
// each time that it was asked.
func (w *Watch) Shows(signer identity.Key, since, now time.Time) <-chan struct{} {
	asked := make(chan struct{}, 100)
	w.cfg.Streams.Handle(protocol, func(_ context.Context, s bus.Stream) {
		b, _ := json.Marshal(said{"another", since.UnixMilli(), now.UnixMilli()})
		_ = json.NewEncoder(s).Encode([]notice{{b, signer.Sign(purpose, b)}})
		asked <- struct{}{}
	})
	return asked
}
