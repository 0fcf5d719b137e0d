package sidecar_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
	"github.com/ipdc/ipdc/wire/guest"
)

var update = flag.Bool("update", false, "write the golden files")

// testdata/container holds pairs NAME.yaml (a spec) and NAME.json (what the
// executor is asked for).
func TestContainerTaskGolden(t *testing.T) {
	specs, err := filepath.Glob("testdata/container/*.yaml")
	if err != nil || len(specs) == 0 {
		t.Fatalf("no golden specs: %v", err)
	}
	id := jobspec.AttemptID{Job: "01kb0000000000000000000000", Task: 3, Try: 2}
	plan := jobspec.Plan{Image: "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}
	for _, file := range specs {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := jobspec.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			paths := sidecar.TaskPaths{
				Prefix: "ipdc-AbCdEfGh-", Guest: "/opt/ipdc/ipdc-guest", Run: "/state/run/x",
				Outputs: "/state/volumes/x/mnt/outputs", Report: "/state/volumes/x/mnt/report", CgroupParent: "/ipdc-AbCdEfGh",
			}
			if spec.Run.Code.Defined() {
				paths.Code = "/state/inputs/code"
			}
			if len(spec.Network) > 0 {
				paths.Net, paths.CA = "/state/run/x/net", "/state/run/x/ca.pem"
			}
			if len(spec.Inputs) > 0 {
				paths.Input = "/state/inputs/input"
			}
			got, err := json.MarshalIndent(sidecar.ContainerTask(spec.WithDefaults(), plan, id, paths), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := file[:len(file)-len(".yaml")] + ".json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("task (-want +got):\n%s", diff)
			}
		})
	}
}

// A job's uid is its own, never root, and below 2^31.
func TestL05ContainerUID(t *testing.T) {
	seen := map[int]jobspec.JobID{}
	for range 200 {
		job := jobspec.NewJobID(time.Unix(0, 0))
		uid := sidecar.ContainerUID(job)
		if uid < 1<<30 || uid >= 1<<31 {
			t.Fatalf("uid of %s = %d, out of range", job, uid)
		}
		if sidecar.ContainerUID(job) != uid {
			t.Fatalf("uid of %s changes", job)
		}
		seen[uid] = job
	}
	if len(seen) < 195 {
		t.Errorf("200 jobs have %d uids", len(seen))
	}
}

// No user, group or range in the machine's files may have a UID or GID that a
// job could get.
func TestL05CheckUIDs(t *testing.T) {
	lowest, highest := 0x78000000, 0x78ffffff
	for range 200 {
		if uid := sidecar.ContainerUID(jobspec.NewJobID(time.Unix(0, 0))); uid < lowest || uid > highest {
			t.Fatalf("a job has the uid %d, the range that is looked for ends at %d", uid, highest)
		}
	}
	for name, c := range map[string]struct {
		passwd, group, subuid, subgid string

		refused string // names it
	}{
		"a usual machine": {
			passwd: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/x\n", group: "root:x:0:\nusers:x:100:ann,ben\n",
			subuid: "ann:100000:65536\nben:165536:65536\n", subgid: "ann:100000:65536\n",
		},
		"no file":             {},
		"user below":          {passwd: fmt.Sprintf("ann:x:%d:0::/:/x\n", lowest-1)},
		"user at the first":   {passwd: fmt.Sprintf("root:x:0:0::/:/x\nann:x:%d:0::/:/x\n", lowest), refused: "ann"},
		"user at the last":    {passwd: fmt.Sprintf("ann:x:%d:0::/:/x\n", highest), refused: "ann"},
		"user above":          {passwd: fmt.Sprintf("ann:x:%d:0::/:/x\n", highest+1)},
		"group below":         {group: fmt.Sprintf("staff:x:%d:\n", lowest-1)},
		"after a large group": {group: "all:x:100:" + strings.Repeat("ann,", 1<<16) + fmt.Sprintf("\nstaff:x:%d:\n", lowest), refused: "staff"},
		"a large group":       {group: "all:x:100:" + strings.Repeat("ann,", 1<<16) + "\n"},
		"group at the first":  {group: fmt.Sprintf("root:x:0:\nstaff:x:%d:ann\n", lowest), refused: "staff"},
		"range below":         {subuid: fmt.Sprintf("ben:%d:65536\n", lowest-65536)},
		"range that reaches":  {subuid: fmt.Sprintf("ann:100000:65536\nben:%d:65536\n", lowest-65535), refused: "ben"},
		"range around":        {subuid: "ben:100000:4000000000\n", refused: "ben"},
		"range of everybody":  {subuid: "ben:1:9223372036854775807\n", refused: "ben"},
		"range at the last":   {subuid: fmt.Sprintf("ben:%d:1\n", highest), refused: "ben"},
		"range above":         {subuid: fmt.Sprintf("ben:%d:65536\n", highest+1)},
		"range of groups":     {subgid: fmt.Sprintf("ann:100000:65536\nben:%d:65536\n", lowest-65535), refused: "ben"},
		"no line of theirs":   {passwd: "# text\n\n+::::\n", group: "+:::\n", subuid: "ben\n:\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"passwd": c.passwd, "group": c.group, "subuid": c.subuid, "subgid": c.subgid} {
				if text == "" {
					continue // it is missing
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := sidecar.CheckUIDs(dir)
			if (err != nil) != (c.refused != "") {
				t.Fatalf("CheckUIDs = %v, want a refusal: %v", err, c.refused != "")
			}
			if err == nil {
				return
			}
			if f := jobspec.AsFailure(err); f.Kind != jobspec.KindPolicy || f.Hint == "" || !strings.Contains(f.Detail, " "+c.refused+" ") {
				t.Errorf("CheckUIDs = %+v, want E_POLICY that names %s, and what to do", f, c.refused)
			}
		})
	}
}

// The guest is told the task's own bounds, which are those of its container.
func TestWriteTask(t *testing.T) {
	dir := t.TempDir()
	spec := jobspec.Spec{
		Version: jobspec.Version, Run: jobspec.Run{Image: "shell", Command: []string{"true"}},
		Resources: jobspec.Resources{CPU: 250, Memory: 64 * jobspec.MiB},
	}
	if err := sidecar.WriteTask(dir, spec.WithDefaults(), jobspec.Task{}, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "task.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got guest.Task
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.CPU != 250 || got.Memory != 64<<20 {
		t.Errorf("the task has %d thousandths of a processor and %d bytes, want 250 and 64 MiB", got.CPU, got.Memory)
	}
}
