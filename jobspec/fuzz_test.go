package jobspec_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
)

// Parse never panics, and what it accepts is the same spec after a way through
// JSON, with and without defaults.
func FuzzParse(f *testing.F) {
	for _, file := range []string{"testdata/spec/minimal.yaml", "testdata/spec/full.yaml"} {
		f.Add(readSeed(f, file))
	}
	f.Add([]byte(`{"version":"ipdc/v1","run":{"image":"a","command":["x"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := jobspec.Parse(data)
		if err != nil {
			_ = jobspec.AsFailure(err)
			return
		}
		if err := spec.Validate(); err != nil {
			t.Fatalf("Validate of an accepted spec = %v", err)
		}
		want := specCID(t, spec)
		for _, s := range []jobspec.Spec{spec, spec.WithDefaults()} {
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > jobspec.MaxSpecSize {
				return // escapes made it longer than what is read
			}
			again, err := jobspec.Parse(text)
			if err != nil {
				t.Fatalf("Parse of %s = %v", text, err)
			}
			if got := specCID(t, again); got != want {
				t.Fatalf("CID after JSON %s = %s, want %s", text, got, want)
			}
		}
	})
}

// What ParsePath accepts has one text, which reads back as itself.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{someCID, "/ipfs/" + someCID + "/a/b", "ipfs://" + someCID + "/a", "/ipns/x", someCID + "/../a", someCID + "/%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := jobspec.ParsePath(s)
		if err != nil {
			return
		}
		again, err := jobspec.ParsePath(p.String())
		if err != nil || again.String() != p.String() || again.Root != p.Root {
			t.Fatalf("ParsePath(%q) = %q, which reads as %q, %v", s, p, again, err)
		}
		for _, name := range p.Segments {
			if name == "" || name == "." || name == ".." {
				t.Fatalf("ParsePath(%q) has segment %q", s, name)
			}
		}
	})
}

func readSeed(f *testing.F, file string) []byte {
	f.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	return b
}
