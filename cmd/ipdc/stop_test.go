package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// A stop that comes too late is none, and any other refusal is one.
func TestStopJob(t *testing.T) {
	for name, c := range map[string]struct {
		asked, then jobspec.JobState // when it is looked at first, and after that
		want        jobspec.JobState // "" = an error
	}{
		"it has ended":               {jobspec.JobSucceeded, jobspec.JobSucceeded, jobspec.JobSucceeded},
		"it has all but ended":       {jobspec.JobPublished, jobspec.JobSucceeded, jobspec.JobSucceeded},
		"refused for another reason": {jobspec.JobRunning, jobspec.JobRunning, ""},
	} {
		looks := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.Method == http.MethodPost {
				w.WriteHeader(http.StatusConflict)
				_ = json.NewEncoder(w).Encode(wire.Problem{Status: http.StatusConflict, Kind: jobspec.KindConflict, Detail: "there is nothing to stop"})
				return
			}
			j := jobspec.Job{ID: "01kbjob", State: c.then}
			if looks++; looks == 1 {
				j.State = c.asked
			}
			_ = json.NewEncoder(w).Encode(wire.Job{Job: j})
		}))
		cl, err := client.New(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		j, err := (&app{}).stopJob(t.Context(), cl, "01kb")
		if (err == nil) != (c.want != "") || err == nil && j.State != c.want {
			t.Errorf("%s: stopJob = %s, %v, want %q", name, j.State, err, c.want)
		}
		s.Close()
	}
}

// Who waits for a job is told what that waits for.
func TestWaitSaysWhatFor(t *testing.T) {
	job := wire.Job{Job: jobspec.Job{ID: "01kbjob", State: jobspec.JobRunning}, Waiting: "waits for the keepers"}
	var said testenv.Log
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			until(t, func() bool { return strings.Contains(said.String(), "job 01kbjob waits for the keepers\n") })
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: end\ndata: {}\n\n")
			return
		}
		j := job
		if said.String() != "" {
			j.State = jobspec.JobStopped
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(j)
	}))
	defer s.Close()
	cl, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{err: &said, sayEvery: time.Millisecond}
	if j, err := a.wait(t.Context(), cl, "01kb"); err != nil || j.State != jobspec.JobStopped {
		t.Errorf("wait = %s, %v, want it stopped", j.State, err)
	}
	if got := strings.Count(said.String(), "\n"); got != 1 {
		t.Errorf("it was said %d times, want once:\n%s", got, said.String())
	}
}
