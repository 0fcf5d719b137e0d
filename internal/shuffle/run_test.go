package shuffle_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/shuffle"
)

type record struct {
	Part       int
	Key, Value string
	Count      uint64
}

// run encodes records.
func run(t testing.TB, kind shuffle.Kind, records []record) []byte {
	t.Helper()
	var out bytes.Buffer
	w := shuffle.NewWriter(&out, kind)
	for _, r := range records {
		if err := w.Add(r.Part, []byte(r.Key), []byte(r.Value), r.Count); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readRun(data []byte, kind shuffle.Kind) (records []record, err error) {
	r, err := shuffle.NewReader(bytes.NewReader(data), "x", kind)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := r.Next()
		if err != nil || !ok {
			return records, err
		}
		records = append(records, record{r.Part, string(r.Key), string(r.Value), r.Count})
	}
}

func TestRunIsReadBack(t *testing.T) {
	big := strings.Repeat("b", 3<<20)
	var many []record
	for i := range 30_000 {
		many = append(many, record{i / 10_000, fmt.Sprintf("%06d", i/2), fmt.Sprint(i), uint64(i + 1)})
	}
	for name, records := range map[string][]record{
		"nothing":       nil,
		"empty key":     {{Count: 1}},
		"empty, again":  {{Count: 1}, {Value: "x", Count: 1}, {Value: "y", Count: 1 << 40}},
		"any bytes":     {{Key: "\x00\n\xff", Value: "\n\x80", Count: 1}},
		"large ones":    {{Key: big, Value: big, Count: 2}, {Key: big, Value: "z", Count: 1}, {Key: "c", Count: 1}},
		"last of parts": {{Part: 9999, Key: "a", Count: 1}},
		"many blocks":   many,
	} {
		got, err := readRun(run(t, shuffle.Frames, records), shuffle.Frames)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(records, got); d != "" {
			t.Errorf("%s (-want +got):\n%.1000s", name, d)
		}
	}
}

// Neighbours that are equal are one record, however they came.
func TestRunHasOneEncoding(t *testing.T) {
	a := []record{{Key: "a", Count: 2}, {Key: "a", Count: 300}, {Key: "b", Value: "1", Count: 1}, {Key: "b", Value: "1", Count: 1}, {Part: 1, Key: "b", Value: "1", Count: 1}}
	b := []record{{Key: "a", Count: 302}, {Key: "b", Value: "1", Count: 2}, {Part: 1, Key: "b", Value: "1", Count: 1}}
	if !bytes.Equal(run(t, shuffle.Lines, a), run(t, shuffle.Lines, b)) {
		t.Error("two encodings of the same records")
	}
}

// smallRun has two blocks and a record without its key.
func smallRun(t testing.TB) []byte {
	return run(t, shuffle.Frames, []record{{Key: "a", Value: "1", Count: 1}, {Key: "a", Value: "22", Count: 200}, {Part: 1, Key: "b", Count: 1}})
}

func TestDamagedRuns(t *testing.T) {
	whole := smallRun(t)
	if _, err := readRun(whole, shuffle.Frames); err != nil {
		t.Fatalf("the whole run: %v", err)
	}
	refused := func(what string, data []byte, kind shuffle.Kind) {
		if _, err := readRun(data, kind); !errors.Is(err, shuffle.ErrRun) {
			t.Errorf("%s: %v, want ErrRun", what, err)
		}
	}
	for n := range whole {
		refused(fmt.Sprintf("cut to %d of %d bytes", n, len(whole)), whole[:n], shuffle.Frames)
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[n] ^= 1 << bit
			refused(fmt.Sprintf("bit %d of byte %d turned", bit, n), damaged, shuffle.Frames)
		}
	}
	refused("with more behind it", append(bytes.Clone(whole), 0), shuffle.Frames)
	refused("twice", append(bytes.Clone(whole), whole...), shuffle.Frames)
	refused("of another kind", whole, shuffle.Lines)
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{})
	f.Add(smallRun(f))
	f.Add(smallRun(f)[:40])
	f.Add(run(f, shuffle.Frames, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := readRun(data, shuffle.Frames)
		if err != nil {
			return
		}
		// What is accepted says the same when it is written again.
		again, err := readRun(run(t, shuffle.Frames, records), shuffle.Frames)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := expand(records), expand(again); a != b {
			t.Errorf("%d bytes of records became %d", len(a), len(b))
		}
	})
}

// expand joins neighbours that a hostile run has left apart.
func expand(records []record) string {
	var b strings.Builder
	for i := 0; i < len(records); {
		r, n := records[i], uint64(0)
		for ; i < len(records) && records[i].Part == r.Part && records[i].Key == r.Key && records[i].Value == r.Value; i++ {
			n += records[i].Count
		}
		fmt.Fprintf(&b, "%d %q %q %d\n", r.Part, r.Key, r.Value, n)
	}
	return b.String()
}

func FuzzEachPair(f *testing.F) {
	block := "\x02\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x03\x00\x00\x00\x00\x00\x00\x00" + "kval"
	for _, s := range []string{"", block, block + block, block[:20], "hello, world, this is text", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := shuffle.EachPair(bytes.NewReader(data), 1<<16, func(key, value []byte) error {
			n += 8 + len(key) + len(value)
			return nil
		})
		if n > len(data) || err == nil && len(data) > 0 && len(data) < 12 {
			t.Errorf("%d bytes of pairs from %d bytes, %v", n, len(data), err)
		}
	})
}

func TestEachPairRefuses(t *testing.T) {
	none := func(_, _ []byte) error { return nil }
	for name, data := range map[string]string{
		"a cut header":   "\x01\x00\x00",
		"a cut block":    "\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00",
		"lengths differ": "\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00ab",
	} {
		if err := shuffle.EachPair(strings.NewReader(data), 1<<20, none); !errors.Is(err, shuffle.ErrFrames) {
			t.Errorf("%s: %v, want ErrFrames", name, err)
		}
	}
	err := shuffle.EachPair(strings.NewReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 1<<20, none)
	if err == nil || !strings.Contains(err.Error(), "4294967295 pairs") {
		t.Errorf("a block that is too large: %v, want its size", err)
	}
}
