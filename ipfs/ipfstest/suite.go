// Package ipfstest is the conformance suite of ipfs.Node, and an ipfs.Session
// in memory for tests.
//
//	func TestConformance(t *testing.T) {
//		ipfstest.Test(t, func(t *testing.T) ipfstest.Subject {
//			return ipfstest.Subject{Node: open(t, dir), Reopen: reopen, Remove: remove, Flip: flip}
//		})
//	}
//
// Invariants: each subtest opens a node of its own and relies on the contract
// in package ipfs only; what breaks a node from outside goes through Subject.
package ipfstest

import (
	"errors"
	"testing"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// Subject is a fresh, empty node and what a test may do to it from outside.
type Subject struct {
	Node   ipfs.Node
	Reopen func() ipfs.Node  // closes the node and opens it again on the same data
	Remove func(jobspec.CID) // deletes a stored block behind the node's back
	Flip   func(jobspec.CID) // flips a bit of a stored block
	// Collect removes what no pin needs, where GC leaves that to the collector
	// of a store that is somebody else's. Nil: GC removes it.
	Collect func()
}

// Test runs the suite. open is called once per subtest and cleans up by
// t.Cleanup.
func Test(t *testing.T, open func(t *testing.T) Subject) {
	for _, group := range []struct {
		name  string
		tests []subtest
	}{
		{"Blocks", blockTests},
		{"Add", addTests},
		{"Pins", pinTests},
		{"Verify", verifyTests},
		{"GC", gcTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, tc := range group.tests {
				t.Run(tc.name, func(t *testing.T) { tc.run(t, open(t)) })
			}
		})
	}
}

type subtest struct {
	name string
	run  func(*testing.T, Subject)
}

// add puts blocks and pins root, and fails the test on an error.
func add(t *testing.T, n ipfs.Node, name string, root block, more ...block) {
	t.Helper()
	if err := tryAdd(t, n, name, root, more...); err != nil {
		t.Fatalf("Add(%q) of %d blocks: %v", name, 1+len(more), err)
	}
}

func tryAdd(t *testing.T, n ipfs.Node, name string, root block, more ...block) error {
	t.Helper()
	got, err := n.Add(t.Context(), name, func(s ipfs.Session) (jobspec.CID, error) {
		for _, b := range append(more, root) {
			if err := s.Put(t.Context(), b.cid, b.data); err != nil {
				return jobspec.CID{}, err
			}
		}
		return root.cid, nil
	})
	if err == nil && got != root.cid {
		t.Fatalf("Add(%q) = %s, want %s", name, got, root.cid)
	}
	return err
}

func has(t *testing.T, n ipfs.Node, b block) bool {
	t.Helper()
	ok, err := n.Has(t.Context(), b.cid)
	if err != nil {
		t.Fatalf("Has(%s): %v", b.cid, err)
	}
	return ok
}

func wantKind(t *testing.T, what string, err error, kind jobspec.Kind) {
	t.Helper()
	if !errors.Is(err, kind.Error()) {
		t.Errorf("%s: error %v, want kind %s", what, err, kind)
	}
}

func wantPins(t *testing.T, n ipfs.Node, prefix string, want ...string) []ipfs.Pin {
	t.Helper()
	pins, err := n.Pins(t.Context(), prefix)
	if err != nil {
		t.Fatalf("Pins(%q): %v", prefix, err)
	}
	got := make([]string, len(pins))
	for i, p := range pins {
		got[i] = p.Name
	}
	if len(got) != len(want) {
		t.Fatalf("Pins(%q) = %q, want %q", prefix, got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("Pins(%q) = %q, want %q", prefix, got, want)
		}
	}
	return pins
}
