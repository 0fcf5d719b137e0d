package api_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
)

// bound is a Room with so many looks left.
type bound struct{ looks atomic.Int64 }

func (b *bound) Check(context.Context, int64) error {
	if b.looks.Add(-1) < 0 {
		return jobspec.KindLimit.Errorf("the disk is full")
	}
	return nil
}

func (b *bound) Admit(ctx context.Context, more int64) error { return b.Check(ctx, more) }

// TestUploadWithoutRoom has 40 MiB for a disk that is full at once, after 16
// MiB, and not at all.
func TestUploadWithoutRoom(t *testing.T) {
	for looks, want := range map[int64]jobspec.Kind{0: jobspec.KindLimit, 1: jobspec.KindLimit, 100: ""} {
		room := &bound{}
		room.looks.Store(looks)
		e := start(t, func(c *api.Config) { c.Room = room })
		data := make([]byte, 40<<20)
		for i := range data {
			data[i] = byte(i >> 20)
		}
		var stream bytes.Buffer
		if _, _, err := pack.File(t.Context(), car.NewWriter(&stream), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		_, err := e.client().Upload(t.Context(), &stream, true)
		if want == "" && err != nil || want != "" && !isKind(err, want) {
			t.Errorf("Upload with %d looks = %v, want %q", looks, err, want)
		}
		if got := e.pins(); want != "" && len(got) != 0 {
			t.Errorf("pins are left: %q", got)
		}
	}
}
