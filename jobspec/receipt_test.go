package jobspec_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/refusal"
	"github.com/ipdc/ipdc/jobspec"
)

func someReceipt() jobspec.Receipt {
	at := time.Date(2026, 11, 21, 8, 0, 0, 123456789, time.FixedZone("x", 3600))
	return jobspec.Receipt{
		Attempt: "01jd7v8000000000000000000x-0-1", Token: "00ff", SpecCID: rawCID("spec"), TaskKey: rawCID("key"),
		Input: rawCID("input"), Image: "sha256:00", ExitCode: 3, Kind: jobspec.KindExit, Output: rawCID("output"),
		Usage:   jobspec.Usage{CPU: 1e9, MaxMemory: 1 << 20, Wall: 2e9},
		Started: at, Exited: at.Add(2 * time.Second),
	}
}

func signed(t *testing.T, r jobspec.Receipt) jobspec.Receipt {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	r, err = jobspec.SignReceipt(key, r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Worker != key.ID().String() || r.Version != jobspec.ReceiptVersion {
		t.Fatalf("SignReceipt names worker %s, version %s", r.Worker, r.Version)
	}
	return r
}

func TestReceiptSurvivesJSON(t *testing.T) {
	for name, r := range map[string]jobspec.Receipt{"full": someReceipt(), "never started": {Attempt: "a"}} {
		var got jobspec.Receipt
		if err := json.Unmarshal([]byte(mustJSON(t, signed(t, r))), &got); err != nil {
			t.Fatal(err)
		}
		if err := jobspec.VerifyReceipt(got); err != nil {
			t.Errorf("%s: VerifyReceipt = %v, want nil", name, err)
		}
	}
}

// Every field is signed: a change of any of them breaks the signature. A field
// that is added to Receipt and forgotten in its signed form fails here.
func TestReceiptTamper(t *testing.T) {
	refusal.Produces(t, jobspec.KindSignature)
	whole := signed(t, someReceipt())
	var change func(v reflect.Value, path string)
	check := func(path string) {
		if err := jobspec.VerifyReceipt(whole); !refusal.Is(t, err, jobspec.KindSignature) {
			t.Errorf("VerifyReceipt with another %s = %v, want E_SIGNATURE", path, err)
		}
	}
	change = func(v reflect.Value, path string) {
		for i := range v.NumField() {
			field, at := v.Field(i), path+v.Type().Field(i).Name
			old := reflect.ValueOf(field.Interface())
			switch x := field.Interface().(type) {
			case jobspec.Usage:
				change(field, at+".")
				continue
			case jobspec.CID:
				field.Set(reflect.ValueOf(rawCID("forged")))
			case time.Time:
				field.Set(reflect.ValueOf(x.Add(1)))
			case []string:
				field.Set(reflect.ValueOf(append([]string{"forged==1"}, x...)))
			case []byte:
				field.SetBytes(append([]byte{x[0] ^ 1}, x[1:]...))
			default:
				if field.Kind() == reflect.String {
					field.SetString(field.String() + "x")
				} else {
					field.SetInt(field.Int() + 1)
				}
			}
			check(at)
			field.Set(old)
		}
	}
	change(reflect.ValueOf(&whole).Elem(), "")
	if err := jobspec.VerifyReceipt(whole); err != nil {
		t.Errorf("VerifyReceipt of the receipt itself = %v, want nil", err)
	}
}

func TestReceiptOfAnother(t *testing.T) {
	r, other := signed(t, someReceipt()), signed(t, someReceipt())
	r.Worker = other.Worker
	if err := jobspec.VerifyReceipt(r); !errors.Is(err, jobspec.KindSignature.Error()) {
		t.Errorf("VerifyReceipt with another worker's name = %v, want E_SIGNATURE", err)
	}
	r = signed(t, someReceipt())
	r.Signature = nil
	if err := jobspec.VerifyReceipt(r); !errors.Is(err, jobspec.KindSignature.Error()) {
		t.Errorf("VerifyReceipt without a signature = %v, want E_SIGNATURE", err)
	}
}

// A receipt of another version may mean something else by the same fields.
func TestReceiptOfAnotherVersion(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for version, valid := range map[string]bool{jobspec.ReceiptVersion: true, "ipdc/receipt/v2": false} {
		r := someReceipt()
		r.Version, r.Worker = version, key.ID().String()
		msg, err := r.SigningBytes()
		if err != nil {
			t.Fatal(err)
		}
		r.Signature = key.Sign(jobspec.ReceiptVersion, msg)
		if err := jobspec.VerifyReceipt(r); (err == nil) != valid {
			t.Errorf("VerifyReceipt of version %s = %v, want valid: %v", version, err, valid)
		}
	}
}

func TestReceiptSigningBytes(t *testing.T) {
	b, err := someReceipt().SigningBytes()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"attempt":"01jd7v8000000000000000000x-0-1","exit_code":3,"exited":1795244402123456789,"image":"sha256:00",` +
		`"input":` + link("input") + `,"kind":"exit","output":` + link("output") + `,"spec_cid":` + link("spec") +
		`,"started":1795244400123456789,"task_key":` + link("key") + `,"token":"00ff",` +
		`"usage":{"cpu":1000000000,"max_memory":1048576,"wall":2000000000},"version":"","worker":""}`
	if got := string(reencode(t, b)); got != want {
		t.Errorf("SigningBytes = %s, want %s", got, want)
	}
}
