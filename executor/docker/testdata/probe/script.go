package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"github.com/ipdc/ipdc/executor/dummy"
)

// script does what the environment says.
func script() {
	s, err := dummy.ParseScript(os.Environ())
	if err != nil {
		fail(err)
	}
	if s.IgnoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	os.Stdout.WriteString(s.Output())
	os.Stderr.WriteString(s.Stderr)
	for _, c := range s.Copies {
		if err := os.CopyFS(c.Value, os.DirFS(c.Path)); err != nil {
			fail(err)
		}
	}
	for _, w := range s.Writes {
		if err := writeFile(w.Path, w.Value); err != nil {
			fail(err)
		}
	}
	time.Sleep(s.Sleep)
	switch {
	case s.OOM:
		hog()
	case s.Signal != 0:
		die(syscall.Signal(s.Signal))
	}
	os.Exit(s.Exit)
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// die ends the process by a signal, also by one that the Go runtime would
// turn into an exit code.
func die(s syscall.Signal) {
	var defaultAction [64]byte
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&defaultAction)), 0, 8, 0, 0)
	for {
		_ = syscall.Kill(os.Getpid(), s)
		time.Sleep(10 * time.Millisecond)
	}
}

// hog takes memory until it is killed.
func hog() {
	var held [][]byte
	for {
		b := make([]byte, 4<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
}

// flood writes numbered lines to stdout, as many bytes as its argument says.
func flood() {
	var size, done int64
	if _, err := fmt.Sscan(os.Args[2], &size); err != nil {
		fail(err)
	}
	for i := 0; done < size; i++ {
		n, err := fmt.Fprintf(os.Stdout, "%0127d\n", i)
		if err != nil {
			fail(err)
		}
		done += int64(n)
	}
}

// binary writes every byte in turn to stdout, as many as its argument says,
// in pieces that end anywhere.
func binary() {
	var size int
	if _, err := fmt.Sscan(os.Args[2], &size); err != nil {
		fail(err)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
		if i > size/2 && b[i] == '\n' {
			b[i] = 'x' // one line much longer than any buffer
		}
	}
	for len(b) > 0 {
		n := min(len(b), 7001)
		if _, err := os.Stdout.Write(b[:n]); err != nil {
			fail(err)
		}
		b = b[n:]
	}
}
