package e2e

import (
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/failpoint"
)

// The first start of a node, in which its state and its domain are made.
func crashBirth(t *testing.T, places []string) {
	undisturbed := newCrasher(t, nil)
	undisturbed.calms()
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n := makeCrasher(t, nil)
			if place == "domain.sweep" { // what it sweeps is left by another crash
				n.dieInBirth("domain.enter.rename")
			}
			n.dieInBirth(place)
			n.begin()
			n.calm = undisturbed.calm
			found, err := filepath.Glob(filepath.Join(n.dir, "domains", "*"))
			if d := n.domain(); err != nil || len(found) != 1 || filepath.Base(found[0]) != d.ID || d.Role != "admin" {
				t.Errorf("born in %+v with %q, %v; want one domain", d, found, err)
			}
			n.settles()
		})
	}
}

func (n *crasher) dieInBirth(place string) {
	n.t.Helper()
	n.arm(place)
	n.launch()
	if !n.dies(patience) {
		n.disarm()
		n.kill()
		n.begin() // so that it ends in order
		n.t.Fatalf("the node did not come to %s", place)
	}
}

// An invitation is made by a command, which is killed.
func crashInvitation(t *testing.T, places []string) {
	n := newCrasher(t, nil)
	n.calms()
	for _, place := range places {
		t.Run(place, func(t *testing.T) {
			n.ready(t)
			cmd := exec.Command(filepath.Join(n.bin, "ipdc"), "domain", "invite")
			cmd.Env = append(n.env, failpoint.Env+"="+place+"=kill")
			out, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("invite ended with %v and printed %q, want SIGKILL", err, out)
			}
			newcomer := n.idle()
			newcomer.ok("domain", "join", n.ok("domain", "invite"))
			if got := newcomer.domain(); got.ID != n.domain().ID {
				t.Errorf("joined %+v, want %s", got, n.domain().ID)
			}
			n.settles()
		})
	}
	n.t = t
}
