package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const mapreduce = "../examples/mapreduce/"

// realText writes the sources of Go and of the packages that ipdc is made of to
// files below dir: at least size bytes, if there are that many. The text depends
// on the versions in go.mod only.
func realText(t testing.TB, dir string, size int64) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{.Module.Path}}{{end}} {{.Dir}}", "../cmd/ipdc").Output()
	if err != nil {
		t.Fatal(err)
	}
	roots := []string{strings.TrimSpace(shell(t, "go env GOROOT")) + "/src"}
	for line := range strings.Lines(string(out)) {
		if module, dir, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " "); module != "" && module != "github.com/ipdc/ipdc" {
			roots = append(roots, dir)
		}
	}
	var text bytes.Buffer
	n, done := 0, int64(0)
	flush := func() {
		write(t, dir, fmt.Sprintf("%02d/%03d.txt", n%7, n), text.String())
		n, done = n+1, done+int64(text.Len())
		text.Reset()
	}
	for i, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && i > 0 && path != root:
				return fs.SkipDir // a package of its own
			case d.IsDir() || filepath.Ext(path) != ".go":
				return nil
			}
			b, err := os.ReadFile(path)
			text.Write(b)
			if text.Len() > 3<<20 {
				flush()
			}
			if done > size {
				return fs.SkipAll
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if done > size {
			break
		}
	}
	flush()
	if done < size {
		t.Fatalf("found %d bytes of text, want %d", done, size)
	}
}

// parts returns the files of a result in the order of their names, and holds
// that they are part-00000 to the number k-1 and no others.
func (n *node) parts(cid string, k int) []string {
	n.t.Helper()
	dest := filepath.Join(n.t.TempDir(), "out")
	n.ok("get", cid, dest)
	got := files(n.t, dest)
	var list []string
	for j := range k {
		text, ok := got[fmt.Sprintf("part-%05d", j)]
		if !ok {
			n.t.Fatalf("the result lacks part %d of %d", j, k)
		}
		list = append(list, text)
	}
	if len(got) != k {
		n.t.Fatalf("the result has %d files, want %d", len(got), k)
	}
	return list
}

// inOrder is what LC_ALL=C sort makes of the parts, one behind the other.
func inOrder(parts ...string) string {
	lines := slices.Collect(strings.Lines(strings.Join(parts, "")))
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// merged is LC_ALL=C sort -m of the parts.
func merged(t testing.TB, parts []string) string {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for i, p := range parts {
		names = append(names, write(t, dir, fmt.Sprint(i), p))
	}
	return shell(t, `sort -m "$@"`, names...)
}

// script is a file of examples/mapreduce.
func script(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(mapreduce + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// counted is the answer of coreutils and awk for a word count, in order.
func counted(t testing.TB, dir string) string {
	t.Helper()
	return shell(t, countWords+` | awk -F '\t' '{ print $2 "\t" $1 }' | sort`, dir)
}

// fullMatrix names the numbers of parts, such as 1,2,3,7,40, for which
// TestWordCount counts over 100 MB, on one node and three, by Python and by awk.
// That takes a minute or two for each.
const fullMatrix = "IPDC_MR_FULL"

// Real text, counted by Python functions and by awk, in as many parts as one
// likes, on one node and on three: always what coreutils and awk count, and
// always the same CID.
func TestWordCount(t *testing.T) {
	parallel(t)
	total, size, ks, again := int64(6<<20), "2MiB", []int{1, 3}, []int{3}
	if list := os.Getenv(fullMatrix); list != "" {
		total, size, ks = 100<<20, "16MiB", nil
		for text := range strings.SplitSeq(list, ",") {
			k, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			ks = append(ks, k)
		}
		again = ks
	}
	a := newMember(t)
	dir := t.TempDir()
	realText(t, dir, total)
	input, want := a.ok("add", "-q", dir), counted(t, dir)
	alone := map[int]string{}
	for _, k := range ks {
		alone[k] = a.mr("wordcount/wordcount.py", k, input, "--combine", "--split-size", size)
		if got := merged(t, a.parts(alone[k], k)); got != want {
			t.Errorf("word count in %d parts is not that of awk", k)
		}
	}
	for _, k := range again {
		if got := a.stream(k, input, "--split-size", size); merged(t, a.parts(got, k)) != want {
			t.Errorf("a stream through awk in %d parts is not what awk alone counts", k)
		}
	}
	b, c := newMember(t), newMember(t)
	b.joins(a)
	c.joins(a)
	worked := map[string]bool{}
	for _, k := range again {
		if got := a.mr("wordcount/wordcount.py", k, input, "--combine", "--split-size", size, "--cache", "off"); got != alone[k] {
			t.Errorf("three nodes give %s for %d parts, one alone %s", got, k, alone[k])
		}
		t.Logf("%d bytes in %d parts: %s", total, k, alone[k])
		for _, try := range a.job("@last").Attempts {
			worked[try.Node] = true
		}
	}
	// One reduce goes to who holds most of what it reads: the holder of all.
	if len(worked) < 2 && slices.Max(again) > 1 {
		t.Errorf("of three nodes %d did something", len(worked))
	}
}

// stream counts words by the example's awk programs.
func (n *node) stream(k int, input string, args ...string) string {
	n.t.Helper()
	words := []string{"mr", "run", "-q", "-k", strconv.Itoa(k), "--mapper", script(n.t, "wordcount/map.sh"), "--reducer", script(n.t, "wordcount/reduce.sh"), "-c", input}
	return n.ok(append(words, args...)...)
}

// A mapper and a reducer that show every byte of what they are given: the parts
// merged are what the pipe gives, with more parts than keys, too.
func TestStreamingEqualsThePipe(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := t.TempDir()
	write(t, dir, "a", "b 2\nDoneDone 1\n\nb 10\n\xff\xfe x\nDoneDone\n")
	write(t, dir, "d/c", "b\x00c 3\n\xff\xfe y\nDone Done\n\t\nlast without end")
	mapper, reducer := `sed 's/ /\t/'`, `uniq -c | sed 's/^ *//' | LC_ALL=C sort`
	for _, k := range []int{1, 12} {
		result := n.ok("mr", "run", "-q", "-k", strconv.Itoa(k), "--mapper", mapper, "--reducer", reducer, "-c", dir)
		want := shell(t, `find "$1" -type f | sort | while read -r f; do cat "$f"; [ -z "$(tail -c 1 "$f")" ] || echo; done | eval "$2" | sort | eval "$3"`, dir, mapper, reducer)
		if got := merged(t, n.parts(result, k)); got != want {
			t.Errorf("in %d parts\n%q, the pipe gives\n%q", k, got, want)
		}
	}
}
