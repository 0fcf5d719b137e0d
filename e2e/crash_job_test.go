package e2e

import (
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// crashSpec is a job over an input, of one task for all of it or for each file.
func crashSpec(t testing.TB, input, per, command string) jobspec.Spec {
	t.Helper()
	return crashYAML(t, fmt.Sprintf(`
inputs: [{cid: %s}]
run: {image: shell, per: %s, command: [sh, -c, %q]}
resources: {cpu: 100m, memory: 64MiB, disk: 16MiB}
`, input, per, command))
}

func crashYAML(t testing.TB, text string) jobspec.Spec {
	t.Helper()
	spec, err := jobspec.Parse([]byte("version: ipdc/v1\ncache: 'off'\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// copying copies the input.
const copying = "cp -r /inputs/. /outputs; wc -c /inputs/a.txt"

// wants runs a job that nobody disturbs, and returns its result. With the first
// one the node is as it is to be after each.
func (n *crasher) wants(spec jobspec.Spec) jobspec.CID {
	n.t.Helper()
	c := n.client()
	j, err := c.Submit(n.t.Context(), spec, "")
	if err == nil {
		j, err = c.Wait(n.t.Context(), j.ID.String())
	}
	if err != nil {
		n.t.Fatal(err)
	}
	if n.calm == nil {
		n.calms()
	}
	n.settles()
	return j.Result
}

// submits sends a job under a key, which may be lost with the node, and returns
// how it is known after the crash, by the same again.
func (n *crasher) submits(place string, spec jobspec.Spec) (c *client.Client, id string) {
	n.t.Helper()
	c = n.client()
	var first wire.Job
	key := n.t.Name()
	n.crash(place, func() { first, _ = c.Submit(n.t.Context(), spec, key) })
	return c, n.again(c, key, spec, first)
}

// again sends a job once more. One that was acknowledged is there. (I1)
func (n *crasher) again(c *client.Client, key string, spec jobspec.Spec, first wire.Job) (id string) {
	n.t.Helper()
	if first.ID != "" {
		if _, err := c.Job(n.t.Context(), first.ID.String()); err != nil {
			n.t.Errorf("the job that was acknowledged: %v", err)
		}
	}
	j, err := c.Submit(n.t.Context(), spec, key)
	if err != nil {
		n.t.Fatal(err)
	}
	if first.ID != "" && j.ID != first.ID {
		n.t.Errorf("sent again the job is %s, was %s", j.ID, first.ID)
	}
	return j.ID.String()
}

// ends holds that a job comes to an undisturbed one's end, once, and that
// nothing of it is left.
func (n *crasher) ends(c *client.Client, id string, want jobspec.CID) wire.Job {
	n.t.Helper()
	j, err := c.Wait(n.t.Context(), id)
	if err != nil {
		n.t.Fatal(err)
	}
	if j.State != jobspec.JobSucceeded || j.Result != want {
		n.t.Errorf("the job is %s with %s, %+v; want %s", j.State, j.Result, j.Failure, want)
	}
	n.checkHistory(id, 1)
	ran(id)
	n.whole(c, j.Result)
	n.settles()
	return j
}

// whole reads all of a result from the node, which verifies each block.
func (n *crasher) whole(c *client.Client, root jobspec.CID) {
	n.t.Helper()
	car, err := c.Export(n.t.Context(), root)
	if err != nil {
		n.t.Errorf("the result %s: %v", root, err)
		return
	}
	defer car.Close()
	if _, err := io.Copy(io.Discard, car); err != nil {
		n.t.Errorf("the result %s is not whole: %v", root, err)
	}
}

// A job of one task.
func crashJob(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	n.atEach(t, places, crashSpec(t, n.ok("add", "-q", logsDir(t)), "task", copying))
}

// atEach runs a job for each of places, at which the node dies, and looks that
// it ends as without that.
func (n *crasher) atEach(t *testing.T, places []string, spec jobspec.Spec) {
	want := n.wants(spec)
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			c, id := n.submits(place, spec)
			n.ends(c, id, want)
			if spec.Gang != nil {
				ranAsGang(id, spec.Gang.Count())
			}
		})
	}
	n.t = t
}

// A job of a task for each file, whose outputs are merged, and one of a single
// task, which ends in one transaction.
func crashResult(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	input := n.ok("add", "-q", logsDir(t))
	for per, command := range map[string]string{"item": "cat", "task": copying} {
		spec := crashSpec(t, input, per, command)
		n.t, n.calm = t, nil
		want := n.wants(spec)
		for _, place := range places {
			t.Run(place+" by "+per, func(t *testing.T) {
				n.ready(t)
				spec := spec
				spec.Name = per
				c, id := n.submits(place, spec)
				n.ends(c, id, want)
			})
		}
	}
	n.t = t
}

// A job that fails, one that is stopped, one whose container is lost, and the
// removal of a record.
func crashEnd(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	input := n.ok("add", "-q", logsDir(t))
	want := n.wants(crashSpec(t, input, "task", copying))
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			switch step(place) {
			case "failed":
				n.crashFailing(place, crashSpec(t, input, "task", "echo partial > /outputs/f; exit 3"))
			case "stopping", "stopped":
				n.crashStopping(place, crashSpec(t, input, "task", "echo begun; exec sleep 300"))
			case "abandoned":
				n.crashLosing(place, crashSpec(t, input, "task", untilLetGo+copying), want)
			case "removed":
				n.crashRemoving(place, crashSpec(t, input, "task", copying))
			}
		})
	}
	n.t = t
}

func (n *crasher) crashFailing(place string, spec jobspec.Spec) {
	n.t.Helper()
	c, id := n.submits(place, spec)
	j, err := c.Wait(n.t.Context(), id)
	if err != nil || j.State != jobspec.JobFailed || j.Failure.ExitCode != 3 || !j.Partial.Defined() {
		n.t.Fatalf("the job is %s, %+v, %v, want failed by exit 3 with its partial output", j.State, j.Failure, err)
	}
	n.checkHistory(id, 0)
	ran(id)
	n.whole(c, j.Partial)
	n.settles()
}

// begun submits a job and waits for its container.
func (n *crasher) begun(c *client.Client, key string, spec jobspec.Spec) string {
	n.t.Helper()
	j, err := c.Submit(n.t.Context(), spec, key)
	if err != nil {
		n.t.Fatal(err)
	}
	n.await("the container to run", time.Minute, func() bool {
		j, err := c.Job(n.t.Context(), j.ID.String())
		return err == nil && slices.ContainsFunc(j.Attempts, func(a jobspec.Attempt) bool { return a.State == jobspec.AttemptRunning })
	})
	return j.ID.String()
}

// A wish to stop that was acknowledged is not forgotten.
func (n *crasher) crashStopping(place string, spec jobspec.Spec) {
	n.t.Helper()
	c := n.client()
	id := n.begun(c, place, spec)
	var err error
	n.crash(place, func() { _, err = c.Stop(n.t.Context(), id) })
	if err != nil {
		if _, err = c.Stop(n.t.Context(), id); err != nil && !strings.Contains(err.Error(), "is stopped") {
			n.t.Fatal(err)
		}
	}
	j, err := c.Wait(n.t.Context(), id)
	if err != nil || j.State != jobspec.JobStopped {
		n.t.Fatalf("the job is %s, %v, want stopped", j.State, err)
	}
	n.checkHistory(id, 0)
	n.settles()
}

// What the engine lost is tried again.
func (n *crasher) crashLosing(place string, spec jobspec.Spec, want jobspec.CID) {
	n.t.Helper()
	c := n.client()
	id := n.begun(c, place, spec)
	lost := n.running()
	n.crash(place, func() {
		out, err := exec.Command("docker", "rm", "-f", strings.Fields(lost)[0]).CombinedOutput()
		if err != nil { // the node may be removing it, too
			n.t.Logf("docker rm: %v: %s", err, out)
		}
	})
	n.release(n.running())
	j := n.ends(c, id, want)
	if len(j.Attempts) != 2 || j.Attempts[0].State != jobspec.AttemptAbandoned {
		n.t.Errorf("attempts = %+v, want one that is abandoned and one more", j.Attempts)
	}
}

// A record that is removed takes its pins along, at once or with the next sweep.
func (n *crasher) crashRemoving(place string, spec jobspec.Spec) {
	n.t.Helper()
	c := n.client()
	id := n.begunAndEnded(c, place, spec)
	if len(n.pins("job/"+id)) == 0 {
		n.t.Error("control: the job has no pins")
	}
	n.crash(place, func() { _ = c.Remove(n.t.Context(), id) })
	if err := c.Remove(n.t.Context(), id); err != nil && !strings.Contains(err.Error(), string(jobspec.KindNotFound)) {
		n.t.Fatal(err)
	}
	if _, err := c.Job(n.t.Context(), id); err == nil {
		n.t.Error("the job is still there")
	}
	n.await("its pins to go", recoverFor, func() bool { return len(n.pins("job/"+id)) == 0 })
	n.settles()
}

func (n *crasher) begunAndEnded(c *client.Client, key string, spec jobspec.Spec) string {
	n.t.Helper()
	j, err := c.Submit(n.t.Context(), spec, key)
	if err == nil {
		j, err = c.Wait(n.t.Context(), j.ID.String())
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.settles()
	return j.ID.String()
}
