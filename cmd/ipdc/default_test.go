package main

import (
	"io"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/cl"
	"github.com/ipdc/ipdc/workload/script"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// What a flag says of its default is what a job without it has.
func TestFlagsTellTheirDefaults(t *testing.T) {
	conf, err := tensorflow.NewConf(map[string]int{"worker": 2})
	if err != nil {
		t.Fatal(err)
	}
	list := cl.Spec(cl.Each("true"), cl.Job{})
	fetching := list
	fetching.Network = []string{"example.org:443"}
	fetching.Cache = cl.Cache(fetching)
	shell := jobspec.Spec{Run: script.Shell("true", false).Run}
	online := shell
	online.Network = fetching.Network
	training := tensorflow.Run(conf, "train.py", nil).Spec
	cluster := tensorflow.Up(tensorflow.NewCluster(conf, []int{1, 2}), nil).Spec
	for _, tc := range []struct {
		command, flags string
		spec           jobspec.Spec
		words          string // before the value
	}{
		{"job submit", "cpu memory disk timeout total-timeout cache", shell, "(default "},
		{"job submit", "cache", online, "; "},
		{"cl run", "cpu memory disk timeout total-timeout cache", list, "(default "},
		{"cl plan", "cache", fetching, "; "},
		{"tf run", "cpu memory disk image timeout total-timeout cache", training, "(default "},
		{"tf up", "cpu memory disk image", cluster, "(default "},
	} {
		cmd, _, err := (&app{out: io.Discard, err: io.Discard}).root().Find(strings.Fields(tc.command))
		if err != nil {
			t.Fatal(err)
		}
		s := tc.spec.WithDefaults()
		has := map[string]string{
			"cpu": s.Resources.CPU.String(), "memory": s.Resources.Memory.String(), "disk": s.Resources.Disk.String(),
			"image": s.Run.Image, "timeout": s.Timeouts.Run.String(), "total-timeout": s.Timeouts.Total.String(), "cache": string(s.Cache),
		}
		for _, name := range strings.Fields(tc.flags) {
			if usage := cmd.Flags().Lookup(name).Usage; !strings.Contains(usage, tc.words+has[name]) {
				t.Errorf("%s --%s: %q, want %q in it", tc.command, name, usage, tc.words+has[name])
			}
		}
	}
}
