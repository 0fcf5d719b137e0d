package failpoint_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ipdc/ipdc/internal/failpoint"
)

const (
	childEnv   = "FAILPOINT_TEST_CHILD"
	childPlace = "FAILPOINT_TEST_PLACE"
	place      = "created.after-effect"
)

// TestMain runs the child's part when the test binary was started by a test.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		fmt.Println("before")
		err := failpoint.Hit(cmp.Or(os.Getenv(childPlace), place))
		fmt.Println("after", errors.Is(err, failpoint.ErrInjected))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, value string) (output string, status syscall.WaitStatus) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1", failpoint.Env+"="+value)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("run child: %v", err)
	}
	return string(out), cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestHit(t *testing.T) {
	for _, tt := range []struct {
		name, value, want string
		signal            syscall.Signal // 0 = none
		code              int
	}{
		{"unset", "", "before\nafter false\n", 0, 0},
		{"another place", "queued.after-effect=kill", "before\nafter false\n", 0, 0},
		{"kill", place + "=kill", "before\n", syscall.SIGKILL, 0},
		{"second entry", "queued.after-effect=error, " + place + "=kill", "before\n", syscall.SIGKILL, 0},
		{"error", place + "=error", "before\nafter true\n", 0, 0},
		{"panic", place + "=panic", "failpoint " + place, 0, 2},
		{"misspelt action", place + "=kil", "is not NAME=kill", 0, 2},
		{"misspelt place", "queud.after-effect=kill", "there is no place", 0, 2},
		{"no action", place, "is not NAME=kill", 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, status := child(t, tt.value)
			if !strings.Contains(out, tt.want) {
				t.Errorf("output = %q, want %q in it", out, tt.want)
			}
			if tt.signal != 0 && (!status.Signaled() || status.Signal() != tt.signal || strings.Contains(out, "after")) {
				t.Errorf("status = %v with output %q, want signal %v and nothing after it", status, out, tt.signal)
			}
			if tt.signal == 0 && status.ExitStatus() != tt.code {
				t.Errorf("exit code = %d, want %d", status.ExitStatus(), tt.code)
			}
		})
	}
}

func TestHitIsFreeWhenUnset(t *testing.T) {
	if os.Getenv(failpoint.Env) != "" {
		t.Fatalf("%s is set", failpoint.Env)
	}
	if n := testing.AllocsPerRun(100, func() { _ = failpoint.Hit(place) }); n != 0 {
		t.Errorf("Hit allocates %v times, want 0", n)
	}
}

// A file says it instead, and is gone once that was done.
func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wish")
	if out, _ := child(t, "@"+file); !strings.Contains(out, "after false") {
		t.Errorf("without the file the child says %q", out)
	}
	if err := os.WriteFile(file, []byte(place+"=kill\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, status := child(t, "@"+file); status.Signal() != syscall.SIGKILL {
		t.Errorf("with the file the child ends with %v, want SIGKILL", status)
	}
	if out, _ := child(t, "@"+file); !strings.Contains(out, "after false") {
		t.Errorf("the next child says %q, want that it goes on", out)
	}
}

func TestPlaceThatIsNotRegistered(t *testing.T) {
	t.Setenv(childPlace, "nowhere.before-effect")
	if out, status := child(t, place+"=kill"); status.ExitStatus() != 2 || !strings.Contains(out, "is not registered") {
		t.Errorf("a child that comes to such a place ends with %v: %s", status, out)
	}
}
