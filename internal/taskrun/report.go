package taskrun

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ipdc/ipdc/wire/guest"
)

// report appends lines to the report file. A report that cannot be written is
// told on stderr once and stops nothing: the exit code is what counts.
type report struct {
	file    *os.File // nil = could not be opened
	reserve string   // path of a file that gives way when the volume is full
	told    bool
}

func openReport(dir string) *report {
	r := &report{reserve: filepath.Join(dir, guest.Reserve)}
	f, err := os.OpenFile(filepath.Join(dir, guest.Report),
		os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		r.complain(err)
		return r
	}
	r.file = f
	// Best effort: without it only the report of a full volume is lost.
	_ = os.WriteFile(r.reserve, make([]byte, guest.ReserveSize), 0o600)
	return r
}

// add appends a line in one write, so that lines of the program and ours do
// not mix.
func (r *report) add(l guest.Line) {
	b, err := l.Encode()
	if err != nil || r.file == nil {
		return
	}
	n, err := r.file.Write(b)
	if isFull(err) && os.Remove(r.reserve) == nil {
		_, err = r.file.Write(b[n:])
	}
	if err != nil {
		r.complain(err)
	}
}

func (r *report) complain(err error) {
	if !r.told {
		fmt.Fprintf(os.Stderr, "ipdc: write report: %v\n", err)
	}
	r.told = true
}

func (r *report) close() {
	if r.file != nil {
		_ = os.Remove(r.reserve)
		_ = r.file.Close()
	}
}
