package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/workload/tensorflow"
)

// No file of the user's takes the place of the one that runs the script.
func TestTFRunNames(t *testing.T) {
	dir := t.TempDir()
	script, own := filepath.Join(dir, "train.py"), filepath.Join(dir, tensorflow.HarnessFile)
	for path, text := range map[string]string{script: "", own: "", filepath.Join(dir, tensorflow.ConfFile): `{"worker": [0]}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		script string
		files  []string
		want   string
	}{
		{script: script},
		{script: own, want: "rename yours"},
		{script: script, files: []string{own}, want: "rename yours"},
	} {
		f := &tfRunFlags{tfFlags: tfFlags{dir: dir}, files: test.files}
		_, err := f.request(test.script, nil)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("request(%s, --file %v) = %v, want %q", filepath.Base(test.script), test.files, err, test.want)
		}
	}
}
