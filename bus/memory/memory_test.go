package memory_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/bustest"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	for name, faults := range map[string]memory.Faults{
		"quiet": nil,
		"noisy": memory.Noise(1, 0.3, 0.3, 20*time.Millisecond),
	} {
		t.Run(name, func(t *testing.T) {
			bustest.Run(t, func(t *testing.T) bustest.Subject { return subject(memory.New(memory.Config{Faults: faults})) })
		})
	}
}

func subject(nw *memory.Network) bustest.Subject {
	return bustest.Subject{
		Join: func(t *testing.T, key identity.Key) bus.Messenger {
			b, err := nw.Join(key.ID())
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		Stop:  func(*testing.T) { nw.Stop() },
		Start: func(*testing.T) { nw.Start() },
		Kill:  func(_ *testing.T, m bus.Messenger) { m.(*memory.Bus).Kill() },
		Keeps: true,
		Tells: true,
	}
}
