package mapreduce_test

import (
	"os/exec"
	"testing"
)

// The harness has tests in its own language: of the encoding, of records, of
// combining within bounds, of what is said about errors.
func TestS24Harness(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("cp", "harness.py", dir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
	out, err := exec.Command("python3", "testdata/harness_test.py", dir).CombinedOutput()
	if err != nil {
		t.Errorf("python3 testdata/harness_test.py: %v\n%s", err, out)
	}
}
