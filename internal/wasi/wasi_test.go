package wasi_test

import (
	"os"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/wasi"
)

// The identity of the image names the version that is compiled in.
func TestRuntimeIsThatOfGoMod(t *testing.T) {
	b, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "\t"+wasi.Runtime+"\n") {
		t.Errorf("go.mod does not require %s", wasi.Runtime)
	}
}

func TestFormats(t *testing.T) {
	for text, want := range map[string][2]bool{
		"\x00asm\x01\x00\x00\x00": {true, false}, "\x00asm\x0d\x00\x01\x00": {false, true}, "\x00asm": {false, true}, "": {}, "asm": {},
	} {
		if got := [2]bool{wasi.IsModule([]byte(text)), wasi.IsComponent([]byte(text))}; got != want {
			t.Errorf("module, component of %q = %v, want %v", text, got, want)
		}
	}
}
