package dataset_test

import (
	"bytes"
	"testing"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/sidecar/dataset"
)

// What is taken for a head says all that heads say, has a signature that holds,
// and is the one form of it.
func FuzzOpen(f *testing.F) {
	key := newKey(f)
	for _, h := range []dataset.Head{head(key, 1), head(key, 7)} {
		sealed, _ := seal(f, h, key)
		f.Add(sealed)
		f.Add(sealed[:len(sealed)-1])
		f.Add(append(bytes.Clone(sealed), 0))
		f.Add(bytes.Replace(sealed, []byte("logs"), []byte("logz"), 1))
	}
	f.Add([]byte{0xa2, 0x61, 'h', 0x40, 0x61, 's', 0x40})
	f.Add([]byte{0x9f, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, c, err := dataset.Open(b)
		if err != nil {
			return
		}
		if h.Name == "" || h.Version < 1 || !h.RootCID().Defined() || (h.Previous == "") != (h.Version == 1) || !c.Defined() {
			t.Errorf("Open = %+v, %s", h, c)
		}
		if _, err := identity.ParseID(h.Owner.String()); err != nil {
			t.Errorf("the owner is %q: %v", h.Owner, err)
		}
		if h.Owner != key.ID() {
			return
		}
		again, _ := seal(t, h, key)
		if !bytes.Equal(again, b) {
			t.Errorf("%x is taken for the head %x", b, again)
		}
	})
}
