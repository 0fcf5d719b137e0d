package jobspec_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// reads checks that a value that was read is in its range and is written as a
// text that reads as the same value.
func reads[T interface {
	~int64
	fmt.Stringer
}](t *testing.T, text string, parse func(string) (T, error), least T) {
	v, err := parse(text)
	if err != nil {
		return
	}
	if again, err := parse(v.String()); v < least || err != nil || again != v {
		t.Errorf("%q is read as %d and written as %s, which is read as %d, %v", text, v, v, again, err)
	}
}

// Sizes, processors and times: nothing negative, nothing that wraps round, and
// one value for each text and back.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{
		"0", "512MiB", "16EiB", "1e3Gi", "1.5", " 1", "-1", "0.001", "500m", "1000000", "9223372036854775807", "9223372036854775808",
		"1h30m", "1ns", "none", "2562047h47m16.854775807s", "NaN", "Inf", "1e309",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		reads(t, s, jobspec.ParseBytes, 0)
		reads(t, s, jobspec.ParseCPU, 0)
		reads(t, s, jobspec.ParseDuration, 0)
	})
}

// A receipt that verifies says what was signed; whatever else is read as one is
// refused with a kind.
func FuzzReceipt(f *testing.F) {
	key, err := identity.Generate()
	if err != nil {
		f.Fatal(err)
	}
	whole, err := jobspec.SignReceipt(key, jobspec.Receipt{
		Attempt: "01jd7v8000000000000000000x-0-1", Token: "00ff", SpecCID: rawCID("spec"), TaskKey: rawCID("key"),
		Image: "sha256:00", ExitCode: 3, Kind: jobspec.KindExit, Started: time.Unix(1, 2).UTC(), Exited: time.Unix(3, 4).UTC(),
	})
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(whole)
	if err != nil {
		f.Fatal(err)
	}
	said, err := whole.SigningBytes()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "{}", string(text), `{"version":"ipdc/receipt/v1","worker":"x","signature":"AA=="}`} {
		f.Add([]byte(seed))
	}
	f.Add(append(text[:len(text)-1], []byte(`,"exit_code":0}`)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r jobspec.Receipt
		if json.Unmarshal(b, &r) != nil {
			return
		}
		err := jobspec.VerifyReceipt(r)
		if err != nil && jobspec.AsFailure(err).Kind != jobspec.KindSignature {
			t.Errorf("VerifyReceipt = %v", err)
		}
		if err != nil || r.Worker != whole.Worker {
			return
		}
		if got, err := r.SigningBytes(); err != nil || string(got) != string(said) {
			t.Errorf("a receipt verifies that was never signed: %s", b)
		}
	})
}
