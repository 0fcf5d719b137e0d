package command_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/delivery/command"
)

var message = delivery.Message{ID: "msg_1", Time: time.Unix(1_700_000_000, 0), Body: []byte(`{"detail":"$(touch /tmp/x); 'quoted'"}`)}

func TestTell(t *testing.T) {
	t.Setenv("IPDC_SECRET_OF_THE_NODE", "hidden")
	file := filepath.Join(t.TempDir(), "told")
	r := command.New(command.Config{Argv: []string{"/bin/sh", "-c", `{ cat; echo; env; pwd; } > "$1"`, "sh", file}})
	if err := r.Tell(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	for _, want := range []string{string(message.Body) + "\n", "IPDC_MESSAGE_ID=msg_1\n", "IPDC_MESSAGE_TIME=2023-11-14T22:13:20Z\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the program saw %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "hidden") {
		t.Errorf("the program saw the node's environment: %q", got)
	}
	if !strings.HasSuffix(got, "\n/\n") {
		t.Errorf("the program ran in another directory: %q", got)
	}
}

func TestTellFails(t *testing.T) {
	for name, tc := range map[string]struct {
		argv []string
		want string
	}{
		"exit code": {[]string{"/bin/sh", "-c", "echo no mail today >&2; exit 3"}, "exit status 3: no mail today"},
		"missing":   {[]string{"/nonexistent/tell"}, "no such file"},
		"too long":  {[]string{"/bin/sh", "-c", "sleep 1000 & sleep 1000; :"}, "did not end within"},
	} {
		timeout := 2 * time.Minute
		if name == "too long" {
			timeout = time.Second
		}
		r := command.New(command.Config{Argv: tc.argv, Timeout: timeout})
		if err := r.Tell(t.Context(), message); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Tell = %v, want %q", name, err, tc.want)
		}
	}
}

// A program may leave something behind that holds its output open.
func TestTellLeavesBehind(t *testing.T) {
	r := command.New(command.Config{Argv: []string{"/bin/sh", "-c", "sleep 20 & exit 0"}})
	if err := r.Tell(t.Context(), message); err != nil {
		t.Errorf("Tell = %v, want nil", err)
	}
}
