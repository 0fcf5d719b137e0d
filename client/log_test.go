package client_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

func frame(stream jobspec.LogStream, task uint32, text string) string {
	return string(jobspec.LogHeader{Stream: stream, Task: task, Len: uint32(len(text))}.Append(nil)) + text
}

// logs returns what Logs writes for a stream and how it ends.
func logs(t *testing.T, stream string, opts ...client.LogOption) (out, errs string, err error) {
	t.Helper()
	var o, e strings.Builder
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, stream) })
	err = c.Logs(t.Context(), "x", false, &o, &e, opts...)
	return o.String(), e.String(), err
}

func TestLogsDemultiplex(t *testing.T) {
	stream := frame(1, 0, "a1\na") + frame(2, 0, "e\n") + frame(1, 7, "b1") + frame(1, 0, "2\n") + frame(1, 7, "\nb2")
	out, errs, err := logs(t, stream)
	if err != nil || out != "a1\nab12\n\nb2" || errs != "e\n" {
		t.Errorf("Logs = %q, %q, %v", out, errs, err)
	}
	out, errs, err = logs(t, stream, client.WithTaskPrefix())
	want := "task 0 | a1\ntask 0 | a2\ntask 7 | b1\ntask 7 | b2\n"
	if err != nil || out != want || errs != "task 0 | e\n" {
		t.Errorf("Logs with prefix = %q, %q, %v, want %q", out, errs, err, want)
	}
	long := strings.Repeat("x", 50<<10)
	out, _, err = logs(t, frame(1, 1, long)+frame(1, 1, long)+frame(1, 1, "\n"), client.WithTaskPrefix())
	if lines := strings.Count(out, "task 1 | "); err != nil || lines != 2 || strings.Count(out, "x") != 100<<10 {
		t.Errorf("a line of 100 KiB came as %d lines of %d bytes, %v", lines, len(out), err)
	}
	if out, _, err = logs(t, ""); out != "" || err != nil {
		t.Errorf("Logs of nothing = %q, %v", out, err)
	}
}

func TestLogsCutOrDamaged(t *testing.T) {
	whole := frame(1, 0, "whole\n")
	for name, stream := range map[string]string{
		"cut in a header":    whole + frame(1, 0, "x")[:5],
		"cut after a header": whole + frame(1, 0, "x")[:9],
		"cut in a chunk":     whole + frame(1, 0, "half")[:11],
		"unknown stream":     whole + frame(3, 0, "x"),
		"huge length":        whole + "\x01\x00\x00\x00\x00\xff\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := logs(t, stream)
			if err == nil || out != "whole\n" {
				t.Errorf("Logs = %q, %v, want the whole chunk and an error", out, err)
			}
			if strings.HasPrefix(name, "cut") && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Logs = %v, want io.ErrUnexpectedEOF", err)
			}
		})
	}
}
