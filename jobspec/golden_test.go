package jobspec_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/jobspec"
)

var update = flag.Bool("update", false, "rewrite the golden files of this package")

// golden compares got with the file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func goldenNames(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return files
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A spec CID is an address that outlives this version: it may never change
// for a spec that was accepted before.
func TestSpecCIDGolden(t *testing.T) {
	for _, file := range goldenNames(t, "testdata/spec/*.yaml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			spec := parse(t, string(readFile(t, file)))
			block, err := jobspec.EncodeCBOR(spec.WithDefaults())
			if err != nil {
				t.Fatal(err)
			}
			// What another implementation reads, as dag-json, with the CID.
			got := specCID(t, spec).String() + "\n" + string(reencode(t, block)) + "\n"
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", []byte(got))
		})
	}
}

// reencode decodes block with go-ipld-prime, checks that encoding it again
// gives the same bytes, and returns it as dag-json.
func reencode(t *testing.T, block []byte) []byte {
	t.Helper()
	builder := basicnode.Prototype.Any.NewBuilder()
	opts := dagcbor.DecodeOptions{AllowLinks: true}
	if err := opts.Decode(builder, bytes.NewReader(block)); err != nil {
		t.Fatalf("go-ipld-prime decodes %x: %v", block, err)
	}
	var again, text bytes.Buffer
	if err := dagcbor.Encode(builder.Build(), &again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(block, again.Bytes()) {
		t.Errorf("go-ipld-prime encodes %x, want %x", again.Bytes(), block)
	}
	if err := dagjson.Encode(builder.Build(), &text); err != nil {
		t.Fatal(err)
	}
	return text.Bytes()
}

func TestSpecCIDIsOfTheMeaning(t *testing.T) {
	base := specCID(t, parse(t, minimal))
	for name, text := range map[string]string{
		"defaults written out": minimal + "split: {by: auto}\nmerge: union\nresources: {cpu: 1, memory: 512MiB, disk: 1GiB}\n" +
			"timeouts: {run: 15m, total: 2h}\nretry: {attempts: 3, on: [lost]}\nisolation: standard\ncache: use\nplace: {prefer: local}\n",
		"other units": minimal + "resources: {cpu: 1000m, memory: 536870912, disk: 1024MiB}\ntimeouts: {run: 900s, total: 120m}\n",
		"order":       "run: {command: [python3, /code/p.py], image: python}\nversion: ipdc/v1\n",
		"json":        `{"version":"ipdc/v1","run":{"image":"python","command":["python3","/code/p.py"],"env":{}},"inputs":[]}`,
	} {
		if got := specCID(t, parse(t, text)); got != base {
			t.Errorf("%s: CID = %s, want %s", name, got, base)
		}
	}
	if got := specCID(t, parse(t, minimal+"timeouts: {run: 901s}\n")); got == base {
		t.Errorf("another timeout has the same CID %s", got)
	}
}

func TestPlanGolden(t *testing.T) {
	for _, file := range goldenNames(t, "testdata/plan/*.facts.json") {
		name := strings.TrimSuffix(file, ".facts.json")
		t.Run(filepath.Base(name), func(t *testing.T) {
			spec := parse(t, string(readFile(t, name+".spec.yaml")))
			var facts jobspec.Facts
			dec := json.NewDecoder(bytes.NewReader(readFile(t, file)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&facts); err != nil {
				t.Fatal(err)
			}
			facts.SpecCID = specCID(t, spec)
			plan, err := jobspec.NewPlan(spec, facts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(plan, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".plan.json", append(got, '\n'))
		})
	}
}

// The records that keys are CIDs of, in another implementation's hand.
func TestKeyRecords(t *testing.T) {
	spec := itemSpec()
	spec.Run.Code, spec.Run.Env = rawCID("code"), map[string]string{"SIZE": "256"}
	facts := factsOf(1, jobspec.Item{Path: "a/b", CID: rawCID("file"), Size: 5})
	common := `"version":1,"image":"sha256:00","arch":"amd64","command":["cat"],"env":{"SIZE":"256"},"code":` + link("code")
	item := `{` + common + `,"per":"item","feed":"stdin","path":"a/b","file":` + link("file") + `}`
	plan := newPlan(t, spec, facts)
	itemKey := plan.Tasks[0].Items[0].Key
	if want := cidOfJSON(t, item); itemKey.String() != want {
		t.Errorf("item key = %s, want %s", itemKey, want)
	}
	batch := `{` + common + `,"per":"item","feed":"stdin","inputs":"files","shard":` + link("input") + `,"items":[{"/":"` + itemKey.String() + `"}]}`
	if got, want := plan.Tasks[0].Key.String(), cidOfJSON(t, batch); got != want {
		t.Errorf("key of a batch = %s, want %s", got, want)
	}
	spec.Run.Per, facts.Items = jobspec.PerTask, nil
	whole := `{` + common + `,"per":"task","inputs":"files","shard":` + link("input") + `}`
	if got, want := newPlan(t, spec, facts).Tasks[0].Key.String(), cidOfJSON(t, whole); got != want {
		t.Errorf("key of a whole task = %s, want %s", got, want)
	}
}

func link(text string) string { return `{"/":"` + rawCID(text).String() + `"}` }

// cidOfJSON returns the CID of a dag-json text as a dag-cbor block.
func cidOfJSON(t *testing.T, text string) string {
	t.Helper()
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := dagjson.Decode(builder, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	var block bytes.Buffer
	if err := dagcbor.Encode(builder.Build(), &block); err != nil {
		t.Fatal(err)
	}
	c, err := cid.Prefix{Version: 1, Codec: cid.DagCBOR, MhType: multihash.SHA2_256, MhLength: -1}.Sum(block.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return c.String()
}
