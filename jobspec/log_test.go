package jobspec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

func TestLogHeader(t *testing.T) {
	frames := []jobspec.LogHeader{
		{Stream: jobspec.LogStdout, Task: 0, Len: 5},
		{Stream: jobspec.LogStderr, Task: 70_000, Len: jobspec.MaxLogChunk},
		{Stream: jobspec.LogStdout, Task: 1<<32 - 1, Len: 0},
	}
	var file bytes.Buffer
	for _, h := range frames {
		b := h.Append(nil)
		if len(b) != jobspec.LogHeaderSize {
			t.Fatalf("Append wrote %d bytes, want %d", len(b), jobspec.LogHeaderSize)
		}
		file.Write(b)
		file.Write(make([]byte, h.Len))
	}
	for _, want := range frames {
		got, err := jobspec.ReadLogHeader(&file)
		if err != nil || got != want {
			t.Fatalf("ReadLogHeader = %+v, %v, want %+v", got, err, want)
		}
		file.Next(int(got.Len))
	}
	if _, err := jobspec.ReadLogHeader(&file); err != io.EOF {
		t.Errorf("ReadLogHeader at the end = %v, want io.EOF", err)
	}
	if got := (jobspec.LogHeader{Stream: jobspec.LogStderr, Task: 0x01020304, Len: 0x0506}).Append([]byte("x")); !bytes.Equal(got, []byte("x\x02\x01\x02\x03\x04\x00\x00\x05\x06")) {
		t.Errorf("Append = %x", got)
	}
}

func TestLogHeaderDamaged(t *testing.T) {
	for name, b := range map[string][]byte{
		"stream 0": {0, 0, 0, 0, 0, 0, 0, 0, 1},
		"stream 3": {3, 0, 0, 0, 0, 0, 0, 0, 1},
		"length":   {1, 0, 0, 0, 0, 0, 1, 0, 1},
		"huge":     {1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
	} {
		if h, err := jobspec.ReadLogHeader(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: ReadLogHeader = %+v, want an error", name, h)
		}
	}
	if _, err := jobspec.ReadLogHeader(bytes.NewReader([]byte{1, 0, 0})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadLogHeader of a cut header = %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestEventJSON(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	for want, e := range map[string]jobspec.Event{
		`{"job":"j","seq":1,"time":"2026-11-21T08:00:00.000000005Z","type":"state","detail":"queued"}`: {
			Job: "j", Seq: 1, Time: at, Type: jobspec.EventState, Detail: "queued"},
		`{"job":"j","seq":2,"time":"2026-11-21T08:00:00.000000005Z","type":"progress","task":3,"done":4,"total":5}`: {
			Job: "j", Seq: 2, Time: at, Type: jobspec.EventProgress, Task: 3, Done: 4, Total: 5},
	} {
		if got := mustJSON(t, e); got != want {
			t.Errorf("JSON = %s, want %s", got, want)
		}
	}
}
