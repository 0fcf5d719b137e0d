package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes a shell script that stands in for go test.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestGuarantees(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "docs/guarantees.md", "| G01 | Holds. | `a TestOne`, `b TestTwo` |\n| G02 | Breaks. | `b TestThree` |\n| G03 | Is left out. | `a TestNot` |\n")
	fake := program(t, `case "$*" in
*"-run ^(TestOne)$ ./a") echo '{"Action":"pass","Package":"m/a","Test":"TestOne"}' ;;
*"-run ^(TestTwo)$ ./b") echo '{"Action":"pass","Package":"m/b","Test":"TestTwo"}' ;;
*"-run ^(TestTwo|TestThree)$ ./b")
	echo '{"Action":"pass","Package":"m/b","Test":"TestTwo"}'
	echo '{"Action":"skip","Package":"m/b","Test":"TestThree"}' ;;
*"-run ^(TestOne|TestNot)$ ./a") echo '{"Action":"pass","Package":"m/a","Test":"TestOne"}' ;;
*) exit 9 ;;
esac
`)
	var out bytes.Buffer
	code, err := run(t.Context(), []string{"guarantees", "-only", "G01", "--", fake, "test", "-json"}, &out)
	if code != 0 || err != nil || !strings.HasSuffix(out.String(), "\n1 of 1 guarantees hold\n") {
		t.Errorf("guarantees -only G01 = %d, %v:\n%s", code, err, out.String())
	}
	out.Reset()
	code, err = run(t.Context(), []string{"guarantees", "--", fake, "test", "-json"}, &out)
	want := `
     RESULT       TEST         GUARANTEE
G01  pass         a TestOne    Holds.
     pass         b TestTwo    
G02  skip         b TestThree  Breaks.
G03  did not run  a TestNot    Is left out.

1 of 3 guarantees hold
`
	if code != 1 || err != nil || out.String() != want {
		t.Errorf("guarantees = %d, %v:\n%s\nwant\n%s", code, err, out.String(), want)
	}
	for _, wrong := range [][]string{{"guarantees"}, {"guarantees", "-only", "G99", "--", fake}, {"guarantees", "-only", "G01,G1", "--", fake}} {
		if code, err := run(t.Context(), wrong, &out); code == 0 || err == nil {
			t.Errorf("run(%q) = %d, %v, want a refusal", wrong, code, err)
		}
	}
}
