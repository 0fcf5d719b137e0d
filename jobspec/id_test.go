package jobspec_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

func TestJobID(t *testing.T) {
	now := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	a, b := jobspec.NewJobID(now), jobspec.NewJobID(now.Add(time.Millisecond))
	if len(a) != 26 || a.String() != strings.ToLower(a.String()) || a >= b {
		t.Errorf("NewJobID = %s then %s, want 26 lower-case characters in order", a, b)
	}
	if jobspec.NewJobID(now) == a {
		t.Error("two jobs of one instant have the same id")
	}
	for _, text := range []string{a.String(), strings.ToUpper(a.String())} {
		if got, err := jobspec.ParseJobID(text); err != nil || got != a {
			t.Errorf("ParseJobID(%q) = %s, %v, want %s", text, got, err, a)
		}
	}
	for _, text := range []string{"", a.String()[:25], a.String() + "0", "../../x", strings.Repeat("x", 1<<20), "u" + a.String()[1:], "é" + a.String()[2:]} {
		if got, err := jobspec.ParseJobID(text); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("S18 ParseJobID(%.40q) = %s, %v, want E_SPEC", text, got, err)
		}
	}
}

func TestAttemptID(t *testing.T) {
	job := jobspec.NewJobID(time.Now())
	want := jobspec.AttemptID{Job: job, Task: 12, Try: 3}
	if got, err := jobspec.ParseAttemptID(want.String()); err != nil || got != want {
		t.Errorf("ParseAttemptID(%s) = %v, %v, want %v", want, got, err, want)
	}
	for _, text := range []string{"", job.String(), job.String() + "-1", job.String() + "-1-0", job.String() + "--1-1", job.String() + "-1-1-1",
		"x-1-1", job.String() + "-+1-1", job.String() + "-01-1", job.String() + "-1-99999999999999999999"} {
		if got, err := jobspec.ParseAttemptID(text); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("ParseAttemptID(%q) = %v, %v, want E_SPEC", text, got, err)
		}
	}
}

func TestCIDText(t *testing.T) {
	var got struct {
		A jobspec.CID `json:"a"`
		B jobspec.CID `json:"b,omitzero"`
	}
	if err := json.Unmarshal([]byte(`{"a":"`+strings.ToUpper(someCID)+`","b":""}`), &got); err != nil {
		t.Fatal(err)
	}
	if text := mustJSON(t, got); text != `{"a":"`+someCID+`"}` {
		t.Errorf("JSON = %s, want %s and no b", text, someCID)
	}
	if err := json.Unmarshal([]byte(`{"a":"x"}`), &got); !errors.Is(err, jobspec.KindSpec.Error()) {
		t.Errorf("Unmarshal of no CID = %v, want E_SPEC", err)
	}
}
