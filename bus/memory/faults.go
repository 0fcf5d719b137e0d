package memory

import (
	"math/rand/v2"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/identity"
)

// Message is one on its way to one member; an announcement is one for each.
type Message struct {
	From, To identity.ID
	Topic    bus.Topic // "" for a message to one
	Payload  []byte    // not to be changed
}

// Faults decides what becomes of a message: for each copy that arrives, after
// how long. None: it is lost. It is called under the network's lock, one call
// at a time, and must not call the network.
type Faults func(m Message) []time.Duration

// Noise returns faults that lose a message with probability loss, double it
// with probability double, and delay each copy by up to reorder. Equal seeds
// give equal decisions.
func Noise(seed uint64, loss, double float64, reorder time.Duration) Faults {
	rnd := rand.New(rand.NewPCG(seed, 0))
	return func(Message) []time.Duration {
		copies := make([]time.Duration, 1, 2)
		if rnd.Float64() < loss {
			copies = copies[:0]
		} else if rnd.Float64() < double {
			copies = append(copies, 0)
		}
		for i := range copies {
			if reorder > 0 {
				copies[i] = time.Duration(rnd.Int64N(int64(reorder)))
			}
		}
		return copies
	}
}
