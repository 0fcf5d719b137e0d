package split_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/ipfstest"
	"github.com/ipdc/ipdc/ipfs/split"
	"github.com/ipdc/ipdc/jobspec"
)

// Each name that ends in .car is a shard, at any depth and under its own path;
// names behind it are not looked at.
func TestShardsOfSectors(t *testing.T) {
	s := ipfstest.NewMemory()
	files := map[string][]byte{
		"a.car/x": []byte("1"), "a.car/y/z.car/q": []byte("2"), "a.car-b/c.car": bytes.Repeat([]byte("3"), 3<<20), "d/e.car/f": nil, ".car/g": []byte("4"),
	}
	shards := do(t, s, dataset(t, s, files), split.Options{By: jobspec.SplitCAR})
	want := [][]string{{".car/g"}, {"a.car-b/c.car"}, {"a.car/x", "a.car/y/z.car/q"}, {"d/e.car/f"}}
	var got [][]string
	for _, sh := range shards {
		got = append(got, slices.Sorted(maps.Keys(contents(t, s, sh.CID))))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shards (-want +got):\n%s", diff)
	}
	whole := map[string][]byte{"x": []byte("1"), "y/z": []byte("2")}
	if shards := do(t, s, dataset(t, s, whole), split.Options{By: jobspec.SplitCAR}); len(shards) != 1 || len(shards[0].Files) != 2 {
		t.Errorf("an input without sectors has shards %+v, want one of all", shards)
	}
	if shards := do(t, s, dataset(t, s, nil), split.Options{By: jobspec.SplitCAR}); len(shards) != 0 {
		t.Errorf("an empty input has %d shards, want 0", len(shards))
	}
}

// What no task would see is refused, not left out.
func TestStraysBesideSectors(t *testing.T) {
	s := ipfstest.NewMemory()
	root := dataset(t, s, map[string][]byte{"a.car/x": []byte("1"), "README": []byte("2"), "d/e": []byte("3")})
	_, err := split.Split(t.Context(), s, root, split.Options{By: jobspec.SplitCAR})
	refusedAs(t, err, "2 other files", `"README"`)
	_, err = split.Sectors(t.Context(), s, root, ipfs.Budget{})
	refusedAs(t, err, "2 other files", `"README"`)
}

func refusedAs(t *testing.T, err error, words ...string) {
	t.Helper()
	if !errors.Is(err, jobspec.KindUnixFS.Error()) {
		t.Fatalf("error is %v, want E_UNIXFS", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// Sectors lists DAGs by their links and looks into none of them.
func TestSectors(t *testing.T) {
	s := ipfstest.NewMemory()
	root := dataset(t, s, map[string][]byte{"a.car/x": []byte("1"), "d/e.car/f": []byte("2")})
	list, err := split.Sectors(t.Context(), s, root, ipfs.Budget{})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, sec := range list {
		paths = append(paths, sec.Path)
		alone, err := split.Sectors(t.Context(), s, sec.CID, ipfs.Budget{})
		if err != nil || len(alone) != 1 || alone[0].CID != sec.CID || alone[0].Path != "" {
			t.Errorf("Sectors(%s) = %v, %v, want it alone", sec.Path, alone, err)
		}
	}
	if want := []string{"a.car", "d/e.car"}; !slices.Equal(paths, want) {
		t.Errorf("sectors are %q, want %q", paths, want)
	}
	odd := jobspec.WrapCID(cid.NewCidV1(cid.DagCBOR, root.Cid().Hash()))
	if list, err := split.Sectors(t.Context(), s, odd, ipfs.Budget{}); err != nil || len(list) != 1 || list[0].CID != odd {
		t.Errorf("Sectors of a dag-cbor root = %v, %v, want it alone", list, err)
	}
	_, err = split.Sectors(t.Context(), s, dataset(t, s, map[string][]byte{"a.car": []byte("bytes of a CAR")}), ipfs.Budget{})
	refusedAs(t, err, "is a file")
}
