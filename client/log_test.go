package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/wire"
)

// piece is an event of a log.
func piece(id string, l wire.LogLine) string {
	b, _ := json.Marshal(l) // of strings and numbers, never fails
	return fmt.Sprintf("id: %s\nevent: log\ndata: %s\n\n", id, b)
}

func out(task int, text string) string {
	return piece("0.1.1", wire.LogLine{Task: task, Stream: wire.LogStdout, Text: text})
}

const logEnd = "event: end\ndata: {}\n\n"

// logs returns what Logs writes of the streams of as many connections, and how
// it ends. The last stream comes again and again.
func logs(t *testing.T, streams []string, opts ...client.LogOption) (out, errs string, s *script, err error) {
	t.Helper()
	return logsWithin(t, 5*time.Second, streams, opts...)
}

// logsWithin gives up so long after the last line.
func logsWithin(t *testing.T, giveUp time.Duration, streams []string, opts ...client.LogOption) (out, errs string, s *script, err error) {
	t.Helper()
	s = &script{steps: []func(http.ResponseWriter, *http.Request){
		func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"id":"01jd"}`) },
	}}
	for _, text := range streams {
		s.steps = append(s.steps, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	var o, e strings.Builder
	c := serve(t, s.ServeHTTP, client.WithRetry(time.Millisecond, time.Millisecond, giveUp))
	err = c.Logs(t.Context(), "@last", false, &o, &e, opts...)
	return o.String(), e.String(), s, err
}

func TestLogsDemultiplex(t *testing.T) {
	stream := out(0, "a1\na") + piece("0.1.2", wire.LogLine{Stream: wire.LogStderr, Text: "e\n"}) + out(7, "b1") + out(0, "2\n") +
		piece("7.1.2", wire.LogLine{Task: 7, Stream: wire.LogStdout, Bytes: []byte("\nb\xff")}) + logEnd
	got, errs, _, err := logs(t, []string{stream})
	if err != nil || got != "a1\nab12\n\nb\xff" || errs != "e\n" {
		t.Errorf("Logs = %q, %q, %v", got, errs, err)
	}
	got, errs, _, err = logs(t, []string{stream}, client.WithTaskPrefix(true))
	want := "task 0 | a1\ntask 0 | a2\ntask 7 | b1\ntask 7 | b\xff\n"
	if err != nil || got != want || errs != "task 0 | e\n" {
		t.Errorf("Logs with prefix = %q, %q, %v, want %q", got, errs, err, want)
	}
	long := strings.Repeat("x", 50<<10)
	got, _, _, err = logs(t, []string{out(1, long) + out(1, long) + out(1, "\n") + logEnd}, client.WithTaskPrefix(true))
	if lines := strings.Count(got, "task 1 | "); err != nil || lines != 2 || strings.Count(got, "x") != 100<<10 {
		t.Errorf("a line of 100 KiB came as %d lines of %d bytes, %v", lines, len(got), err)
	}
	if got, _, _, err = logs(t, []string{logEnd}); got != "" || err != nil {
		t.Errorf("Logs of nothing = %q, %v", got, err)
	}
}

// A log that is cut, in the middle of a piece too, goes on where it was.
func TestLogsResume(t *testing.T) {
	one, two := piece("0.1.4", wire.LogLine{Stream: "stdout", Text: "one\n"}), piece("0.1.8", wire.LogLine{Stream: "stdout", Text: "two\n"})
	got, _, s, err := logs(t, []string{one + two[:20], two, logEnd})
	if err != nil || got != "one\ntwo\n" {
		t.Errorf("Logs = %q, %v", got, err)
	}
	want := []string{
		"/v1/jobs/@last", "/v1/jobs/01jd/logs?format=events",
		"/v1/jobs/01jd/logs?after=0.1.4&format=events 0.1.4", "/v1/jobs/01jd/logs?after=0.1.8&format=events 0.1.8",
	}
	if diff := cmp.Diff(want, s.connections()); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}

// Half a log is never taken for the whole.
func TestLogsCutOrDamaged(t *testing.T) {
	whole := out(0, "whole\n")
	for name, stream := range map[string]string{
		"cut for good": whole,
		"no JSON":      whole + "id: 0.1.9\nevent: log\ndata: {\n\n",
		"refused":      whole + "event: error\ndata: {\"kind\":\"E_NOT_FOUND\",\"detail\":\"gone\",\"status\":404}\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			rest, giveUp := stream, 5*time.Second
			if name == "cut for good" {
				rest, giveUp = "", 100*time.Millisecond
			}
			if got, _, _, err := logsWithin(t, giveUp, []string{stream, rest}); err == nil || got != "whole\n" {
				t.Errorf("Logs = %q, %v, want the whole piece and an error", got, err)
			}
		})
	}
}
