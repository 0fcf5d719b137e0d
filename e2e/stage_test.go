package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sortStages is a job by hand: lines are divided by their first letter, then
// each half is sorted.
const sortStages = `version: ipdc/v1
inputs: [{cid: INPUT}]
cache: 'off'
resources: {memory: 64MiB, disk: 16MiB, cpu: 500m}
stages:
- name: map
  split: {by: entries}
  partitions: 3
  run:
    image: shell
    command: [sh, -c, 'cat /inputs/* | awk ''{ print > sprintf("/outputs/part-%05d", $0 < "n" ? 0 : 1) }''']
- name: reduce
  needs: [map]
  run:
    image: shell
    command: [sh, -c, 'cd /inputs; for p in part-*; do find $p -type f | xargs -r cat | LC_ALL=C sort > /outputs/$p; done']
`

// Two stages in containers: what the first one gave is sorted by the second.
func TestStages(t *testing.T) {
	parallel(t)
	n := newNode(t)
	dir := t.TempDir()
	var all []string
	for name, text := range map[string]string{"a": "zebra\napple\nnut\n", "b": "mango\nyak\n", "c": "bean\napple\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.Fields(text)...)
	}
	slices.Sort(all)
	file := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(sortStages, "INPUT", n.ok("add", "-q", dir), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := n.ok("job", "plan", file)
	if !strings.Contains(plan, "when map has succeeded") {
		t.Errorf("the plan says nothing of the second stage:\n%s", plan)
	}
	want := n.ok("job", "submit", file)
	var sorted strings.Builder
	for _, part := range []string{"part-00000", "part-00001", "part-00002"} {
		sorted.WriteString(n.ok("get", want+"/"+part, "-") + "\n")
	}
	if got := strings.Fields(sorted.String()); !slices.Equal(got, all) {
		t.Errorf("the parts hold %q, want %q", got, all)
	}
	n.ok("receipt", "verify", "@last")
	if text := n.ok("job", "describe", "@last"); !strings.Contains(text, "reduce") {
		t.Errorf("describe does not tell of stages:\n%s", text)
	}
}
