package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/internal/testenv"
)

// The README's first two examples are what is printed there, job ids and times
// aside; TestReadmeFunction has the third.
func TestReadmeExamples(t *testing.T) {
	testenv.Index(t)
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	maps := n.ok("add", "-q", pictures(t, "openuniverse"))
	small := n.ok("job", "submit", "-f", "../examples/process.py", "-r", "../examples/requirements.txt", "-c", maps)
	logs := n.ok("add", "-q", "../examples/logs")
	near := n.ok("job", "submit", "-q", "-e", `sed -n '/,38\.7[2-4]....,-9\.1[3-5]..../p'`, "-c", logs)
	for _, text := range []string{
		"added " + maps + " build/pictures\n",
		"-c " + maps + " --out small\n", "\n" + small + "\nsaved small (1.5 MB, 72 files)\n",
		"added " + logs + " examples/logs\n", `"sed -n '/,38\.7[2-4]....,-9\.1[3-5]..../p'" -c ` + logs + "\njob ", " succeeded in 401 ms\n" + near + "\n",
		"$ ipdc get " + near + "/2024/01.csv -\n" + n.ok("get", near+"/2024/01.csv", "-") + "\n",
	} {
		if !strings.Contains(string(readme), text) {
			t.Errorf("the README lacks %q", text)
		}
	}
}
