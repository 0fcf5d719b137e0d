package api_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/sidecar/api"
)

// What is held is pinned under the hold's name alone, beside a user's pin of the
// same DAG, and stays through a collection until it is let go of.
func TestHold(t *testing.T) {
	e, f := start(t), newFixture(t)
	c := e.client()
	one, other := "hold/local/one/"+f.root.String(), "hold/local/other/"+f.root.String()
	steps := []struct {
		name string
		do   func() error
		want []string
	}{
		{"a hold", func() error { return second(c.UploadHeld(t.Context(), bytes.NewReader(f.car), false, "one")) }, []string{one}},
		{"an import under another", func() error { return second(c.ImportHeld(t.Context(), bytes.NewReader(f.car), "other")) }, []string{one, other}},
		{"a collection", func() error { return second(e.ipfs.GC(t.Context())) }, []string{one, other}},
		{"one is let go of", func() error { return c.Release(t.Context(), "one") }, []string{other}},
		{"once more", func() error { return c.Release(t.Context(), "one") }, []string{other}},
		{"a user's pin", func() error { return second(c.Upload(t.Context(), bytes.NewReader(f.car), false)) }, []string{other, "user/" + f.root.String()}},
		{"the other, too", func() error { return c.Release(t.Context(), "other") }, []string{"user/" + f.root.String()}},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		if diff := cmp.Diff(s.want, e.pins()); diff != "" {
			t.Errorf("%s: pins (-want +got):\n%s", s.name, diff)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A tenant lets go of its own holds only.
func TestHoldOfTenant(t *testing.T) {
	e, f := start(t), newFixture(t)
	of := func(token string) *client.Client { return e.dial("http://"+e.addr, client.WithToken(token)) }
	if _, err := of(alice).UploadHeld(t.Context(), bytes.NewReader(f.car), false, "plan"); err != nil {
		t.Fatal(err)
	}
	held := e.pins()
	if err := of(bob).Release(t.Context(), "plan"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(held, e.pins()); diff != "" || len(held) != 1 {
		t.Errorf("after another tenant's release: pins (-want +got):\n%s", diff)
	}
	if err := of(alice).Release(t.Context(), "plan"); err != nil { // control
		t.Fatal(err)
	}
	if got := e.pins(); len(got) != 0 {
		t.Errorf("after its own release: pins %q", got)
	}
}

func TestHoldName(t *testing.T) {
	e, f := start(t), newFixture(t)
	for _, name := range []string{"", "a/b", "..", "%2e%2e%2f", strings.Repeat("x", 65)} {
		e.askSocket("POST", "/v1/dag?hold="+name, string(f.car), carType).want(t, 400, "E_SPEC")
		e.askSocket("POST", "/v1/dag/import?hold="+name, string(f.car), carType).want(t, 400, "E_SPEC")
	}
	e.askSocket("DELETE", "/v1/holds/a%2fb", "").want(t, 400, "E_SPEC")
	if got := e.pins(); len(got) != 0 {
		t.Errorf("pins are left: %q", got)
	}
}

// The hold of a caller that was killed ends by itself, and with the node.
func TestHoldEnds(t *testing.T) {
	e, f := start(t, func(c *api.Config) { c.HoldTime = 50 * time.Millisecond }), newFixture(t)
	if _, err := e.client().UploadHeld(t.Context(), bytes.NewReader(f.car), false, "one"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(e.pins()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("pins after a minute: %q", e.pins())
		}
	}
	if err := e.stop(); err != nil {
		t.Fatal(err)
	}
	if err := e.ipfs.Pin(t.Context(), "hold/local/one/"+f.root.String(), f.root); err != nil {
		t.Fatal(err)
	}
	e.again()
	if got := e.pins(); len(got) != 0 {
		t.Errorf("pins after a restart: %q", got)
	}
}
