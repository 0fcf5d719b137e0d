package jobspec_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/ipdc/ipdc/jobspec"
)

func TestBytesJSON(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want jobspec.Bytes
		out  string
	}{
		{`"512MiB"`, 512 << 20, `"512MiB"`},
		{`"1GB"`, 1e9, `"1GB"`},
		{`"1000"`, 1000, `"1kB"`},
		{`1024`, 1024, `"1KiB"`},
		{`"1024KiB"`, 1 << 20, `"1MiB"`},
		{`1`, 1, `"1B"`},
		{`0`, 0, `"0B"`},
		{`1234567`, 1234567, `"1234567B"`},
		{`"2TiB"`, 2 << 40, `"2TiB"`},
		{`"7EiB"`, 7 << 60, `"7EiB"`},
		{`9223372036854775807`, math.MaxInt64, `"9223372036854775807B"`},
	} {
		var got jobspec.Bytes
		if err := json.Unmarshal([]byte(tt.in), &got); err != nil || got != tt.want {
			t.Errorf("Bytes of %s = %d, %v, want %d", tt.in, got, err, tt.want)
		}
		if out, err := json.Marshal(got); err != nil || string(out) != tt.out {
			t.Errorf("JSON of %d = %s, %v, want %s", got, out, err, tt.out)
		}
	}
}

func TestCPUJSON(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want jobspec.CPU
		out  string
	}{
		{`1`, 1000, `1`}, {`0.5`, 500, `0.5`}, {`"500m"`, 500, `0.5`}, {`"2"`, 2000, `2`},
		{`0.001`, 1, `0.001`}, {`"0"`, 0, `0`}, {`1.25`, 1250, `1.25`}, {`1000000`, 1e9, `1000000`},
	} {
		var got jobspec.CPU
		if err := json.Unmarshal([]byte(tt.in), &got); err != nil || got != tt.want {
			t.Errorf("CPU of %s = %d, %v, want %d", tt.in, got, err, tt.want)
		}
		if out, err := json.Marshal(got); err != nil || string(out) != tt.out {
			t.Errorf("JSON of %d = %s, %v, want %s", got, out, err, tt.out)
		}
	}
}

func TestDurationText(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
		out  string
	}{
		{"15m", 15 * time.Minute, "15m"}, {"2h", 2 * time.Hour, "2h"}, {"30d", 720 * time.Hour, "30d"},
		{"1d12h", 36 * time.Hour, "1d12h"}, {"90s", 90 * time.Second, "1m30s"}, {"1h30m", 90 * time.Minute, "1h30m"},
		{"1.5h", 90 * time.Minute, "1h30m"}, {"0s", 0, "0s"}, {"250ms", 250 * time.Millisecond, "250ms"},
		{"36h0m5s", 36*time.Hour + 5*time.Second, "1d12h0m5s"}, {"1ns", 1, "1ns"}, {"106751d", 106751 * 24 * time.Hour, "106751d"},
	} {
		got, err := jobspec.ParseDuration(tt.in)
		if err != nil || got.Std() != tt.want || got.String() != tt.out {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", tt.in, got, err, tt.out)
		}
	}
}

// Each of these reached a container engine as "unlimited", or was read in two
// ways, somewhere else.
func TestUnitsRefuse(t *testing.T) {
	bad := map[string][]string{
		"bytes": {`""`, `" 1"`, `"1 "`, `"1 MiB"`, `-1`, `"-1"`, `"+1"`, `"NaN"`, `"Inf"`, `1e309`, `1e3`, `1.0`, `"1.5"`, `"1.5GiB"`,
			`9223372036854775808`, `"8EiB"`, `"16EiB"`, `"1e3Gi"`, `"512m"`, `"512mb"`, `"512M"`, `"512Mi"`, `"MiB"`, `"0x10"`, `"1_000"`,
			`"١MiB"`, `true`, `null`, `[]`, `{}`, `"99999999999999999999"`},
		"cpu": {`""`, `" 1"`, `"1 "`, `-1`, `"-500m"`, `"+1"`, `"NaN"`, `"Inf"`, `1e309`, `1e0`, `"1e3"`, `"."`, `"1."`, `".5"`, `0.0001`,
			`"0.5m"`, `9223372036854775808`, `1000001`, `"1000000001m"`, `"16EiB"`, `true`, `null`, `[]`},
		"duration": {`""`, `" 1s"`, `"1s "`, `"-1s"`, `"+1s"`, `"1d-1h"`, `"1d+1h"`, `"NaN"`, `"Inf"`, `"15"`, `"0"`, `"1d0"`, `15`, `"d"`, `"1.5d"`, `"1d1d"`,
			`"9223372036854775808ns"`, `"106752d"`, `"99999999999999999999d"`, `"1w"`, `"1h1d"`, `true`, `[]`},
	}
	for unit, texts := range bad {
		for _, text := range texts {
			t.Run("S07 "+unit+" "+text, func(t *testing.T) {
				var b jobspec.Bytes
				var c jobspec.CPU
				var d jobspec.Duration
				target := map[string]any{"bytes": &b, "cpu": &c, "duration": &d}[unit]
				if err := json.Unmarshal([]byte(text), target); err == nil {
					t.Errorf("%s of %s = %v, want an error", unit, text, []any{b, c, d})
				}
			})
		}
	}
}

func TestUnitsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type units struct {
			B jobspec.Bytes    `json:"b"`
			C jobspec.CPU      `json:"c"`
			D jobspec.Duration `json:"d"`
		}
		want := units{
			jobspec.Bytes(rapid.Int64Min(0).Draw(t, "bytes")),
			jobspec.CPU(rapid.Int64Range(0, 1e9).Draw(t, "cpu")),
			jobspec.Duration(rapid.Int64Min(0).Draw(t, "duration")),
		}
		for name, codec := range map[string]struct {
			marshal   func(any) ([]byte, error)
			unmarshal func([]byte, any) error
		}{
			"json": {json.Marshal, json.Unmarshal},
			"yaml": {yaml.Marshal, func(b []byte, v any) error { return yaml.UnmarshalStrict(b, v) }},
		} {
			text, err := codec.marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			var got units
			if err := codec.unmarshal(text, &got); err != nil || got != want {
				t.Fatalf("%s %s reads back as %+v, %v, want %+v", name, text, got, err, want)
			}
		}
	})
}

func TestUnitErrorsCarryKind(t *testing.T) {
	for _, err := range []error{
		func() error { _, err := jobspec.ParseBytes("x"); return err }(),
		func() error { _, err := jobspec.ParseCPU("x"); return err }(),
		func() error { _, err := jobspec.ParseDuration("x"); return err }(),
	} {
		if !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("error %v is not of kind E_SPEC", err)
		}
	}
}

func TestUnitCBOR(t *testing.T) {
	for want, v := range map[string]any{
		"1a20000000":         512 * jobspec.MiB,
		"1901f4":             jobspec.CPU(500),
		"1b000000d18c2e2800": jobspec.Duration(15 * time.Minute),
	} {
		got, err := jobspec.EncodeCBOR(v)
		if err != nil || fmt.Sprintf("%x", got) != want {
			t.Errorf("EncodeCBOR(%v) = %x, %v, want %s", v, got, err, want)
		}
	}
}

func TestCIDReadsItsCBOR(t *testing.T) {
	want, err := jobspec.ParseCID("bafkqaaa")
	if err != nil {
		t.Fatal(err)
	}
	type links struct{ A, None jobspec.CID }
	b, err := jobspec.EncodeCBOR(links{A: want})
	if err != nil {
		t.Fatal(err)
	}
	var got links
	if err := cbor.Unmarshal(b, &got); err != nil || got.A != want || got.None.Defined() {
		t.Errorf("%x reads as %v, %v, want %v and nothing", b, got, err, want)
	}
	for _, wrong := range []string{"\x01", "\x40", "\xd8\x2a\x40", "\xd8\x2a\x41\x00", "\xd8\x2a\x43\x01\x55\x00", "\xd8\x2b\x45\x00\x01\x55\x00\x00", "\xd8\x2a\x43\x00\x01\x55"} {
		var c jobspec.CID
		if err := cbor.Unmarshal([]byte(wrong), &c); err == nil {
			t.Errorf("%x reads as %v, want an error", wrong, c)
		}
	}
}
