package taskrun

import "github.com/ipdc/ipdc/wire/guest"

// Tail keeps the last bytes that are written to it. The zero value is ready; it
// is for one goroutine at a time.
type Tail struct {
	buf     []byte
	written int64
}

// Write keeps the end of p and what was there before; it never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.written += int64(len(p))
	t.buf = append(t.buf, p[max(len(p)-guest.MaxStderr, 0):]...)
	if len(t.buf) > 4*guest.MaxStderr {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-guest.MaxStderr:]...)
	}
	return len(p), nil
}

// last returns the end of what was written, and how many bytes were before it.
func (t *Tail) last() (text string, cut int64) {
	b := t.buf[max(len(t.buf)-guest.MaxStderr, 0):]
	return string(b), t.written - int64(len(b))
}
