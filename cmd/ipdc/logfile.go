package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
)

// logger opens the node's log. The returned function closes it.
func (a *app) logger() (*slog.Logger, func() error, error) {
	out, closeLog := a.err, func() error { return nil }
	if a.set.LogFile != "" {
		f, err := openLogFile(a.set.LogFile, int64(a.set.LogSize), a.set.LogFiles)
		if err != nil {
			return nil, nil, err
		}
		out, closeLog = f, f.Close
	}
	opts := &slog.HandlerOptions{Level: a.set.LogLevel}
	if a.set.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, opts)), closeLog, nil
	}
	return slog.New(slog.NewTextHandler(out, opts)), closeLog, nil
}

// logFile is a log of bounded size: a file that would grow over max bytes is
// put aside as PATH.1, the one before as PATH.2, and so on. A crash of the
// program is written to it too.
type logFile struct {
	path string
	max  int64
	keep int // files, the current one included

	mu   sync.Mutex
	f    *os.File
	size int64
}

var _ io.WriteCloser = (*logFile)(nil)

func openLogFile(path string, max int64, keep int) (*logFile, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	l := &logFile{path: path, max: max, keep: keep}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = debug.SetCrashOutput(f, debug.CrashOptions{})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open log: %w", err), f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends one line. A file that cannot be put aside is written on: a log
// that is too long is better than none.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.max {
		if err := l.rotate(); err != nil {
			fmt.Fprintln(os.Stderr, "ipdc: put the log aside:", err)
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

func (l *logFile) rotate() error {
	name := func(i int) string { return fmt.Sprintf("%s.%d", l.path, i) }
	if l.keep < 2 {
		if err := l.f.Truncate(0); err != nil {
			return err
		}
		l.size = 0
		return nil
	}
	for i := l.keep - 1; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(l.path, name(1)); err != nil {
		return err
	}
	old := l.f
	if err := l.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file; calling it twice is safe.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.f.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
