package taskrun

import (
	"strings"
	"testing"

	"github.com/ipdc/ipdc/wire/guest"
)

// The room for stderr is that of the report, where a control character takes six
// bytes.
func TestStderrBudget(t *testing.T) {
	for text, want := range map[string]int64{"plain": 95, strings.Repeat("\x01", 16): 4, strings.Repeat("\x01", 17): 100} {
		b := &batch{runner: &runner{budget: 100}}
		var l guest.Line
		var tail Tail
		_, _ = tail.Write([]byte(text))
		b.addStderr(&l, &tail)
		if kept := l.Stderr == text; b.budget != want || kept != (want < 100) || !kept && l.StderrCut != int64(len(text)) {
			t.Errorf("%q: %d bytes are left, want %d; the line is %+v", text, b.budget, want, l)
		}
	}
}
