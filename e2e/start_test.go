package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"testing"
)

// ended is a test that notes why it ended.
type ended struct {
	testing.TB
	why []any
}

func (e *ended) Helper() {}

func (e *ended) Fatal(why ...any) {
	e.why = why
	runtime.Goexit()
}

// A node whose program cannot be started says why, and its end is none.
func TestStartFails(t *testing.T) {
	e := &ended{TB: t}
	n := &node{t: e, bin: t.TempDir()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer n.stop()
		n.start()
	}()
	<-done
	if err, _ := append(e.why, nil)[0].(error); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the start of a program that is not there ends with %s, want that it is not there", fmt.Sprint(e.why...))
	}
}
