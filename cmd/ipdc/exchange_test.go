package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/jobspec"
)

// nothingLocal is a node that has stored nothing.
type nothingLocal struct{}

func (nothingLocal) Has(context.Context, jobspec.CID) (bool, error) { return false, nil }
func (nothingLocal) Get(context.Context, jobspec.CID) ([]byte, error) {
	return nil, errors.New("nothing is stored")
}

func newExchange(next swap.Fetcher, members bool) *exchange {
	return &exchange{local: nothingLocal{}, members: members, next: next, changed: make(chan struct{}), offers: map[jobspec.CID]offer{}}
}

// What is offered is given until its time is over, and there is a bound.
func TestOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExchange(nil, true)
		id, err := e.Offer([]byte("block"), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := e.Get(t.Context(), id); string(data) != "block" || err != nil {
			t.Errorf("Get = %q, %v", data, err)
		}
		time.Sleep(2 * time.Second)
		if ok, _ := e.Has(t.Context(), id); ok {
			t.Error("an offer that is over is given")
		}
		for i := range maxOffers {
			if _, err := e.Offer(fmt.Append(nil, i), time.Second); err != nil {
				t.Fatalf("offer %d: %v", i, err)
			}
		}
		if _, err := e.Offer([]byte("more"), time.Second); !errors.Is(err, jobspec.KindLimit.Error()) {
			t.Errorf("an offer too many: %v, want E_LIMIT", err)
		}
	})
}

// gateway gives every block.
type gatewayFake struct{}

func (gatewayFake) Block(context.Context, jobspec.CID) ([]byte, error) {
	return []byte("of a gateway"), nil
}
func (gatewayFake) DAG(context.Context, []jobspec.CID, func(jobspec.CID, []byte) error) error {
	return nil
}

// Without a network the gateways are asked at once; while it is down they are
// asked after a while, and without them the refusal says so.
func TestExchangeWithoutNetwork(t *testing.T) {
	id, err := newExchange(nil, true).Offer([]byte("x"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		e     *exchange
		waits bool
		kind  jobspec.Kind
	}{
		"by itself, with a gateway": {newExchange(gatewayFake{}, false), false, ""},
		"down, with a gateway":      {newExchange(gatewayFake{}, true), true, ""},
		"down":                      {newExchange(nil, true), true, jobspec.KindFetchTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				test.e.changed = make(chan struct{})
				_, err := test.e.Block(t.Context(), id)
				if waited := time.Since(begun) > 0; waited != test.waits {
					t.Errorf("it waited: %v, want %v", waited, test.waits)
				}
				if (err == nil) != (test.kind == "") || err != nil && !errors.Is(err, test.kind.Error()) {
					t.Errorf("Block: %v, want %q", err, test.kind)
				}
			})
		})
	}
}

// What fails is tried ever more rarely, and at once when that is long ago.
func TestTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tried, m := 0, tries{}
		for range 600 {
			if m.due("x", 4*time.Second, 5*time.Minute) {
				tried++
			}
			time.Sleep(2 * time.Second)
		}
		if tried < 7 || tried > 11 { // 4, 8, 16, 32, 64, 128, 256, 300, 300 s within 20 min
			t.Errorf("tried %d times in 20 min", tried)
		}
		time.Sleep(time.Hour)
		if !m.due("x", 4*time.Second, 5*time.Minute) {
			t.Error("not tried after an hour")
		}
		time.Sleep(5 * time.Second)
		if !m.due("x", 4*time.Second, 5*time.Minute) {
			t.Error("after an hour the pauses are still long")
		}
	})
}
