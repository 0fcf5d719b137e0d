package docker_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
)

// TestSandboxProc reads and writes the kernel's files. The control is root in
// an open container; what even it cannot read shows nothing.
func TestSandboxProc(t *testing.T) {
	b := newBench(t)
	reads := []string{"/proc/kcore", "/proc/keys", "/proc/interrupts", "/proc/kallsyms", "/proc/timer_list",
		"/proc/sched_debug", "/proc/schedstat", "/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	for i := range runtime.NumCPU() {
		reads = append(reads, fmt.Sprintf("/sys/devices/system/cpu/cpu%d/thermal_throttle", i))
	}
	var attacks []string
	for _, p := range reads {
		attacks = append(attacks, "read:"+p)
	}
	writes := []string{"write:/proc/sysrq-trigger", "write:/proc/sys/kernel/hostname", "write:/proc/irq/default_smp_affinity"}
	job := b.try(t, append(writes, attacks...)...)
	open := b.tryOpen(t, privileged, append(writes, attacks...)...)
	shown := 0
	for _, a := range attacks {
		t.Run("R20 "+a, func(t *testing.T) {
			if job[a].N != 0 {
				t.Errorf("a job reads it: %+v", job[a])
			}
			if open[a].N > 0 {
				shown++
			}
		})
	}
	if shown < 4 {
		t.Errorf("R20: the control reads %d of %d paths, too few to show anything", shown, len(attacks))
	}
	for _, a := range writes {
		t.Run("R20 "+a, func(t *testing.T) {
			failed(t, a, job[a])
			if _, err := os.Stat(strings.TrimPrefix(a, "write:")); err == nil {
				worked(t, a, open[a]) // this kernel has it
			}
		})
	}
}

// TestSandboxUnreadableByMask runs the control as the same user, so that only
// the mask can make the difference: R20.
func TestSandboxUnreadableByMask(t *testing.T) {
	b := newBench(t)
	const a = "read:/proc/interrupts" // world-readable, and not masked by an old engine
	if o := b.try(t, a)[a]; o.N != 0 {
		t.Errorf("a job reads /proc/interrupts: %+v", o)
	}
	open := func(c *container.Config, h *container.HostConfig) {
		asUser(c, h)
		h.MaskedPaths = []string{}
	}
	if o := b.tryOpen(t, open, a)[a]; o.N == 0 {
		t.Errorf("control: %+v, want it to be readable", o)
	}
}
