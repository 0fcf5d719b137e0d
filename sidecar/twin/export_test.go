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

// Shows makes w answer everybody with a notice of another process, made by a
// clock that is off by so much, and tells each time that it was asked.
func (w *Watch) Shows(signer identity.Key, off time.Duration) <-chan struct{} {
	asked := make(chan struct{}, 100)
	since := time.Now().Add(-time.Hour)
	w.cfg.Streams.Handle(protocol, func(_ context.Context, s bus.Stream) {
		b, _ := json.Marshal(said{"another", since.UnixMilli(), time.Now().Add(off).UnixMilli()})
		_ = json.NewEncoder(s).Encode([]notice{{b, signer.Sign(purpose, b)}})
		asked <- struct{}{}
	})
	return asked
}
