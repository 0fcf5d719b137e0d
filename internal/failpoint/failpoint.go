// Package failpoint ends the process, or fails, at a named place, so that
// tests can crash a real node between any two of its steps.
//
//	failpoint.Hit("created.after-effect")
//	if err := failpoint.Hit("migrate.commit"); err != nil { return err }
//
//	IPDC_FAILPOINT=created.after-effect=kill ipdc node start
//	IPDC_FAILPOINT=queued.before-effect=kill,domain.sweep=error
//	IPDC_FAILPOINT=@FILE   # what FILE says at each place; it is removed when one fires
//
// Invariants: the variable is read once, at the first Hit; without it Hit does
// nothing and allocates nothing; a value that cannot be understood, and a place
// that [All] lacks, panic, so that a misspelt crash test cannot pass.
package failpoint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Env is the name of the variable: NAME=ACTION[,NAME=ACTION...], or @FILE with a
// file that holds that, while there is one.
const Env = "IPDC_FAILPOINT"

// ErrInjected is wrapped by the error of the action "error".
var ErrInjected = errors.New("injected failure")

// The actions.
const (
	kill  = "kill"  // SIGKILL to the process itself
	crash = "panic" // as a bug would
	fail  = "error" // Hit returns an error
)

// wish is what the environment asks for.
type wish struct {
	known map[string]bool   // all places
	set   map[string]string // what to do at a place
	file  string            // says it instead; "" = none
}

var asked = sync.OnceValue(func() *wish {
	value := os.Getenv(Env)
	if value == "" {
		return nil
	}
	w := &wish{known: map[string]bool{}}
	for _, name := range All() {
		w.known[name] = true
	}
	if file, ok := strings.CutPrefix(value, "@"); ok {
		w.file = file
	} else {
		w.set = w.mustParse(value)
	}
	return w
})

// Hit does what the environment asks for at the place name: kill the process,
// panic, or return an error that wraps [ErrInjected]. A place where nothing can
// fail may ignore the error.
func Hit(name string) error {
	w := asked()
	if w == nil {
		return nil
	}
	if !w.known[name] {
		panic("failpoint: place " + name + " is not registered")
	}
	switch w.action(name) {
	case kill:
		dieNow()
	case crash:
		panic("failpoint " + name)
	case fail:
		return fmt.Errorf("failpoint %s: %w", name, ErrInjected)
	}
	return nil
}

// dieNow returns never: a signal to oneself may be delivered a moment later,
// and nothing may happen in that moment.
func dieNow() {
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {}
}

// action returns what to do at a place. A file is removed before it is done, so
// that it is done once, and whoever wrote the file sees that it was.
func (w *wish) action(name string) string {
	if w.file == "" {
		return w.set[name]
	}
	b, err := os.ReadFile(w.file)
	if err != nil {
		return ""
	}
	action := w.mustParse(strings.TrimSpace(string(b)))[name]
	if action != "" && os.Remove(w.file) != nil {
		return "" // another goroutine was first
	}
	return action
}

func (w *wish) mustParse(s string) map[string]string {
	set := map[string]string{}
	for entry := range strings.SplitSeq(s, ",") {
		name, action, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok || (action != kill && action != crash && action != fail) {
			panic(fmt.Sprintf("%s: %q is not NAME=kill, NAME=panic or NAME=error", Env, entry))
		}
		if !w.known[name] {
			panic(fmt.Sprintf("%s: there is no place %q", Env, name))
		}
		set[name] = action
	}
	return set
}
