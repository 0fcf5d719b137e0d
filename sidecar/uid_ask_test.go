package sidecar_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar"
)

// Users and groups that a service names, and no file, have no UID or GID of a job
// either. Who does not answer keeps no node from starting.
func TestL05AskUIDs(t *testing.T) {
	const first, last = 0x78000000, 0x78ffffff
	for name, c := range map[string]struct {
		script  string // of getent
		refused string // names it; "" = none is
		failed  bool   // without a refusal
	}{
		"nobody":                {script: "exit 2"},
		"a user at the first":   {script: only("passwd", first), refused: "ann"},
		"a user at the last":    {script: only("passwd", last), refused: "ann"},
		"a group in the middle": {script: only("group", (first+last)/2), refused: "ann"},
		"a range of a million":  {script: `for n in "$@"; do test "$n" -ge 2020000000 && test "$n" -lt 2021100000 && echo "ann:*:$n:1::/:/x"; done; exit 2`, refused: "ann"},
		"everybody":             {script: `shift; for n in "$@"; do echo "any$n:*:$n:$n::/:/x"; done`, refused: fmt.Sprint("any", first)},
		"users elsewhere":       {script: `echo "ann:*:1000:1000::/:/x"; exit 2`},
		"a failure":             {script: "exit 1", failed: true},
		"no answer":             {script: "exec sleep 600", failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "getent"), []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			within := time.Minute
			if name == "no answer" {
				within = 100 * time.Millisecond
			}
			err := sidecar.AskUIDsWithin(t.Context(), within)
			refused := errors.Is(err, jobspec.KindPolicy.Error())
			if refused != (c.refused != "") || !refused && (err != nil) != c.failed {
				t.Fatalf("AskUIDs = %v, want a refusal: %v, a failure: %v", err, c.refused != "", c.failed)
			}
			if !refused {
				return
			}
			if f := jobspec.AsFailure(err); f.Hint == "" || !strings.Contains(f.Detail, " "+c.refused+" ") {
				t.Errorf("AskUIDs = %+v, want one that names %s, and what to do", f, c.refused)
			}
		})
	}
	t.Run("no getent", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if err := sidecar.AskUIDs(t.Context()); err != nil {
			t.Errorf("AskUIDs = %v, want nil", err)
		}
	})
	t.Run("this machine", func(t *testing.T) {
		if err := sidecar.AskUIDsWithin(t.Context(), time.Minute); err != nil {
			t.Errorf("AskUIDs = %v", err)
		}
	})
}

// only is a getent that knows one number of one database, as the real one answers.
func only(database string, number int) string {
	return fmt.Sprintf(`database=$1; for n in "$@"; do test "$database" = %s && test "$n" = %d && echo "ann:*:$n:"; done; exit 2`, database, number)
}
