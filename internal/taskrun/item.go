package taskrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/wire/guest"
)

// fullBelow is how little room of Outputs counts as none, in bytes: a file
// system keeps some blocks back when it says that it is full.
const fullBelow = 64 << 10

// batch runs the task's command once per item.
type batch struct {
	*runner
	in, out *os.Root
	again   []guest.Item // to be tried once more, behind the others
}

// runItems runs all items in order. The first failure ends the batch unless
// the task keeps going; a full volume always does, as every further item would
// be decided by its size.
func (r *runner) runItems() Exit {
	in, err := os.OpenRoot(r.at(guest.Inputs))
	if err != nil {
		return r.giveUp(&StartError{guest.ExitGuest, fmt.Sprintf("open inputs: %v", err)})
	}
	defer in.Close()
	out, err := os.OpenRoot(r.at(guest.Outputs))
	if err != nil {
		return r.giveUp(&StartError{guest.ExitGuest, fmt.Sprintf("open outputs: %v", err)})
	}
	defer out.Close()
	b := &batch{runner: r, in: in, out: out}
	todo := r.task.Items
	for try := 1; len(todo) > 0; try++ {
		if try > 1 {
			b.rest(guest.Pause(try))
		}
		b.again = nil
		for _, it := range todo {
			end, done := b.runItem(it, try)
			if stop, stopped := r.Program.Stopped(); stopped {
				return stop
			}
			if done {
				return end
			}
		}
		todo = b.again
	}
	return Exit{}
}

// rest waits before items are tried again, unless the task is asked to end.
func (b *batch) rest(d time.Duration) {
	const piece = 100 * time.Millisecond
	for ; d > 0; d -= piece {
		if _, stopped := b.Program.Stopped(); stopped {
			return
		}
		b.Pause(min(d, piece))
	}
}

// runItem runs the command for one item and reports it. With done the batch
// ends here.
func (b *batch) runItem(it guest.Item, try int) (end Exit, done bool) {
	p := it.Path
	l := guest.Line{Type: guest.LineItem, Path: p}
	if try > 1 {
		l.Tries = try
	}
	in, err := b.in.Open(p)
	if err != nil {
		return b.giveUp(&StartError{guest.ExitGuest, fmt.Sprintf("open input %s: %v", p, reason(err))}), true
	}
	defer in.Close()
	out, err := b.create(p)
	if err != nil {
		return b.fail(l, Exit{Code: 1}, fmt.Sprintf("create output: %v", reason(err)), isFull(err))
	}
	defer out.Close()
	c := b.call(in, out)
	c.Env = append(c.Env, guest.EnvItem+"="+p)
	c.Stderr = &Tail{}
	end, err = b.Program.Run(c)
	if err != nil {
		b.remove(p)
		return b.giveUp(err), true
	}
	if _, stopped := b.Program.Stopped(); stopped && end.Code != 0 {
		return end, true
	}
	full := b.full()
	if end.Code != 0 && !full && try <= b.task.Retries {
		b.remove(p)
		b.later(l, it, end, try)
		return Exit{}, false
	}
	b.addStderr(&l, c.Stderr)
	if end.Code == 0 && !full {
		l.Outputs = []string{p}
		b.report.add(l)
		return Exit{}, false
	}
	why := describe(end)
	if end.Code == 0 {
		end.Code, why = 1, "the output may be cut, although the command reported success"
	}
	end, done = b.fail(l, end, why, full)
	if !done {
		b.remove(p)
	}
	return end, done
}

// addStderr puts the end of an item's stderr into its line, as long as the
// report has room for that.
func (b *batch) addStderr(l *guest.Line, t *Tail) {
	l.Stderr, l.StderrCut = t.last()
	size := min(jsonSize(l.Stderr), guest.MaxLine)
	if size > b.budget {
		l.Stderr, l.StderrCut, size = "", t.written, 0
	}
	b.budget -= size
}

// jsonSize is how many bytes a text takes in a line, without the quotes.
func jsonSize(text string) int64 {
	b, err := json.Marshal(text)
	if err != nil {
		return math.MaxInt64
	}
	return int64(len(b)) - 2
}

// later has an item that failed tried again when the others are done. That it
// failed is reported in case the task does not come to it.
func (b *batch) later(l guest.Line, it guest.Item, end Exit, try int) {
	l.Type, l.Error, l.ExitCode, l.Signal = guest.LineRetry, describe(end), end.Code, end.Signal
	fmt.Fprintf(os.Stderr, "ipdc: %s: %s (try %d of %d)\n", it.Path, l.Error, try, b.task.Retries+1)
	b.report.add(l)
	b.again = append(b.again, it)
}

// fail reports a failed item and says whether it ends the batch.
func (b *batch) fail(l guest.Line, end Exit, why string, full bool) (Exit, bool) {
	l.Error, l.ExitCode, l.Signal = why, end.Code, end.Signal
	if full {
		l.Error, l.Kind = "no space left in "+guest.Outputs+": "+why, guest.KindQuota
	}
	fmt.Fprintf(os.Stderr, "ipdc: %s: %s\n", l.Path, l.Error)
	b.report.add(l)
	if full || !b.task.KeepGoing {
		return end, true
	}
	return Exit{}, false
}

// create makes the output file of an item. It must not be there: what a
// command wrote for another item is never overwritten.
func (b *batch) create(p string) (*os.File, error) {
	if dir := path.Dir(p); dir != "." {
		if err := b.out.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return b.out.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// remove takes away an item's output and the directories that it leaves empty,
// so that a failed item leaves no trace in the result.
func (b *batch) remove(p string) {
	for ; p != "."; p = path.Dir(p) {
		if b.out.Remove(p) != nil {
			return
		}
	}
}

// full reports whether Outputs has no room, in bytes or in files. A command
// writes its output itself, so that it met ENOSPC shows here only.
func (b *batch) full() bool {
	var st syscall.Statfs_t
	if syscall.Statfs(b.at(guest.Outputs), &st) != nil {
		return false
	}
	return st.Bavail*uint64(st.Bsize) < fullBelow || st.Files > 0 && st.Ffree == 0
}

// volume is the size of the volume of Outputs in bytes, 0 if it is not known.
func (r *runner) volume() int64 {
	var st syscall.Statfs_t
	if syscall.Statfs(r.at(guest.Outputs), &st) != nil {
		return 0
	}
	return int64(st.Blocks) * int64(st.Bsize)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// reason drops operations and paths from err; the caller names them better.
func reason(err error) error {
	for pe := (*fs.PathError)(nil); errors.As(err, &pe); {
		err = pe.Err
	}
	return err
}

func describe(end Exit) string {
	if end.Detail != "" {
		return end.Detail
	}
	if end.Signal != 0 {
		return fmt.Sprintf("ended by signal %d (%v)", end.Signal, syscall.Signal(end.Signal))
	}
	return fmt.Sprintf("exit code %d", end.Code)
}
