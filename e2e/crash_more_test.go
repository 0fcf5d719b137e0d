package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A job of two stages, which is killed between them.
func crashStages(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	spec := crashYAML(t, fmt.Sprintf(`
inputs: [{cid: %s}]
resources: {cpu: 100m, memory: 64MiB, disk: 16MiB}
stages:
- {name: map, run: {image: shell, command: [sh, -c, 'cat /inputs/a.txt > /outputs/all']}}
- {name: sort, needs: [map], run: {image: shell, command: [sh, -c, 'find /inputs -name all -type f | xargs sort > /outputs/sorted']}}
`, n.ok("add", "-q", logsDir(t))))
	want := n.wants(spec)
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			c, id := n.submits(place, spec)
			if j := n.ends(c, id, want); len(j.Attempts) != 2 {
				t.Errorf("%d attempts, want one for each of two stages", len(j.Attempts))
			}
		})
	}
	n.t = t
}

// A gang of two tasks at one node, of which none runs without the other: the
// [engineWatch] holds that.
func crashGang(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	n.atEach(t, places, crashYAML(t, `
gang: {roles: {a: 1, b: 1}}
resources: {cpu: 100m, memory: 64MiB, disk: 16MiB}
run: {image: shell, command: [sh, -c, 'echo $IPDC_TASK > /outputs/task']}
`))
}

// A result that is sent to a directory, and whose end is told.
func crashDelivery(t *testing.T, places []string) {
	n := newCrasher(t, []string{"IPDC_OUTLET_PAUSE=100ms"})
	to, told := t.TempDir(), filepath.Join(t.TempDir(), "told")
	n.permit(fmt.Sprintf(`
publish: [{url: "file://%s"}]
notify: [{url: "exec:tell", command: [/bin/sh, -c, "cat >> %s; echo >> %[2]s"]}]
`, to, told))
	spec := crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying)
	want := n.wants(spec)
	spec.Notify = []string{"exec:tell"}
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			spec := spec
			spec.Publish = []string{"file://" + to + "/" + place}
			c, id := n.submits(place, spec)
			j := n.ends(c, id, want)
			n.await("all to be delivered", time.Minute, func() bool {
				j, _ = c.Job(t.Context(), id)
				return len(j.Deliveries) == 2 && j.Deliveries[0].State == jobspec.DeliveryDone && j.Deliveries[1].State == jobspec.DeliveryDone
			})
			if got := files(t, filepath.Join(to, place))["a.txt"]; got != "one 997\ntwo\n" {
				t.Errorf("a.txt was sent as %q", got)
			}
			if b, err := os.ReadFile(told); err != nil || !strings.Contains(string(b), id) {
				t.Errorf("told is %q, %v, want of job %s", b, err, id)
			}
		})
	}
	n.t = t
}

// An append that is killed leaves the version before, or its own.
func crashDataset(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	one, two := n.random(1000), n.random(1000)
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			c, name := n.client(), strings.ReplaceAll(place, ".", "-")
			_, err := c.CreateDataset(t.Context(), wire.DatasetWish{Name: name, Keep: 1})
			if err != nil {
				t.Fatal(err)
			}
			add := func(entry, path string) (wire.Dataset, error) {
				return c.AppendDataset(t.Context(), name, wire.DatasetAppend{Entries: []wire.DatasetEntry{{Name: entry, Path: path}}})
			}
			if _, err := add("one", one); err != nil {
				t.Fatal(err)
			}
			if n.calm == nil {
				n.calms()
			}
			n.crash(place, func() { _, err = add("two", two) })
			d, lost := c.Dataset(t.Context(), jobspec.DatasetRef{Name: name})
			if lost != nil || d.Version < 2 || d.Version > 3 || err == nil && d.Version != 3 {
				t.Fatalf("after the crash the newest is version %d, %v; the append said %v", d.Version, lost, err)
			}
			if d, err = add("two", two); err != nil || d.Version != 3 {
				t.Errorf("the append again = version %d, %v, want 3", d.Version, err)
			}
			n.whole(c, d.Root)
			want := fmt.Sprintf("%s/h1 %[1]s/h2 %[1]s/h3 %[1]s/v3", "dataset/local/"+name)
			n.await("other pins of the dataset to go", recoverFor, func() bool {
				return strings.Join(n.pins("dataset/local/"+name+"/"), " ") == want
			})
			n.settles()
		})
	}
	n.t = t
}
