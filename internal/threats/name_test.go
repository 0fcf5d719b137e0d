package threats_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/internal/threats"
)

func TestNamed(t *testing.T) {
	for name, want := range map[string][]string{
		"TestA08EngineKilled":          {"A08"},
		"TestA02A03Forged":             {"A02", "A03"},
		"FuzzA02Names":                 {"A02"},
		"TestA02":                      {"A02"},
		"TestNames/A04_NUL_in_a_name":  {"A04"},
		"TestNames/A04":                {"A04"},
		"TestNames/A04#01":             {"A04"},
		"TestNames/A10_A11_answer":     {"A10", "A11"},
		"TestA01Both/runsc/A02_inside": {"A01", "A02"},
		"TestNames":                    nil,
		"TestA123":                     nil,
		"TestNames/A04NUL":             nil,
		"TestNames/what_A04_is":        nil,
		"BenchmarkA01":                 nil,
	} {
		if diff := cmp.Diff(want, threats.Named(name)); diff != "" {
			t.Errorf("Named(%s) (-want +got):\n%s", name, diff)
		}
	}
}

func TestTested(t *testing.T) {
	const source = `package a
func TestA01A02Both(t *testing.T) {
	// A90 is a comment.
	t.Run("A03 first", nil)
	t.Run("A04 "+name, nil)
	t.Run(fmt.Sprintf("A05 cut at %d", n), nil)
	for _, tc := range []struct{ name, text string }{{"A06 in a table", "x"}, {name: "A07 A08 by key"}, {f("A91 inside")}} {
		t.Errorf("A92 is said: %v", tc)
		check(t, "A93 helper")
		tc.done("A94: prose")
	}
	for name := range map[string]int{"A09 as a key": 1} {
		id := "A10 "
		t.Logf("A95 %s", name)
	}
	_ = []string{"A96: prose", "A97.", "see A98"}
}
func (x T) TestA99() {}
func helperA89() {}
`
	got, err := threats.Tested(source)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A09", "A10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Tested (-want +got):\n%s", diff)
	}
}
