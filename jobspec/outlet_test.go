package jobspec_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/jobspec"
)

var nineOutlets = func() (list []string) {
	for i := range 9 {
		list = append(list, fmt.Sprintf("file:///srv/%d", i))
	}
	return list
}()

func TestParseOutlet(t *testing.T) {
	for _, tc := range []struct {
		text, want string
		notify     bool
	}{
		{text: "s3://results/a/b/", want: "s3://results/a/b"},
		{text: "s3://results", want: "s3://results"},
		{text: "https://example.org:8443/put/{job}/x", want: "https://example.org:8443/put/{job}/x"},
		{text: "http://[::1]:80/", want: "http://[::1]:80"},
		{text: "file:///srv/out-{cid}", want: "file:///srv/out-{cid}"},
		{text: "https://example.org/hook", want: "https://example.org/hook", notify: true},
		{text: "exec:mail-us", want: "exec:mail-us", notify: true},
	} {
		parse := jobspec.ParsePublish
		if tc.notify {
			parse = jobspec.ParseNotify
		}
		got, err := parse(tc.text)
		if err != nil || got.String() != tc.want {
			t.Errorf("parse(%q) = %v, %v, want %s", tc.text, got, err, tc.want)
		}
	}
}

func TestParseOutletRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                                     "does not begin",
		"results/":                             "does not begin",
		"exec:mail":                            "does not begin",
		"ftp://example.org/":                   "does not begin",
		"s3:bucket":                            "//",
		"s3://B/p":                             "bucket",
		"s3:///p":                              "bucket",
		"s3://../p":                            "bucket",
		"s3://bucket/../other":                 "..",
		"s3://bucket/a//b":                     "empty",
		"https://user:pw@example.org/":         "host",
		"https:///x":                           "host",
		"https://a b/":                         "host",
		"https://example.org/?x=1":             "?",
		"https://example.org/%2e%2e/":          "%",
		"https://example.org/a#b":              "#",
		"https://example.org/a\nb":             "control",
		"file://host/dir":                      "three",
		"file:///":                             "directory",
		"file:///srv/../etc":                   "..",
		"file:///srv/{name}":                   "braces",
		"file:///srv/{job":                     "braces",
		"file:///" + strings.Repeat("a/", 600): "1024",
	} {
		_, err := jobspec.ParsePublish(text)
		if !errors.Is(err, jobspec.KindSpec.Error()) || !strings.Contains(err.Error(), why) {
			t.Errorf("ParsePublish(%.40q) = %v, want E_SPEC with %q", text, err, why)
		}
	}
	for _, text := range []string{"exec:", "exec:/bin/sh", "exec:a b", "exec:A", "s3://bucket/x", "file:///srv"} {
		if o, err := jobspec.ParseNotify(text); !errors.Is(err, jobspec.KindSpec.Error()) {
			t.Errorf("ParseNotify(%q) = %v, %v, want E_SPEC", text, o, err)
		}
	}
}

func TestOutletBelow(t *testing.T) {
	for _, tc := range []struct {
		o, top string
		want   bool
	}{
		{"s3://results/a", "s3://results", true},
		{"s3://results/a", "s3://results/a", true},
		{"s3://results/ab", "s3://results/a", false},
		{"s3://results", "s3://results/a", false},
		{"s3://results2/a", "s3://results", false},
		{"https://example.org/a", "http://example.org/a", false},
		{"https://example.org:444/a", "https://example.org/a", false},
		{"file:///srv/x/{job}", "file:///srv/x", true},
	} {
		o, err1 := jobspec.ParsePublish(tc.o)
		top, err2 := jobspec.ParsePublish(tc.top)
		if got := o.Below(top); got != tc.want || err1 != nil || err2 != nil {
			t.Errorf("%s.Below(%s) = %v, want %v (%v, %v)", tc.o, tc.top, got, tc.want, err1, err2)
		}
	}
	mail, _ := jobspec.ParseNotify("exec:mail")
	other, _ := jobspec.ParseNotify("exec:mailer")
	if !mail.Below(mail) || other.Below(mail) {
		t.Error("commands are named exactly")
	}
}

func TestDeliveries(t *testing.T) {
	ended := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	job := jobspec.Job{ID: "01k0000000000000000000000a", State: jobspec.JobRunning, Finished: ended, Result: rawCID("result"), Spec: jobspec.Spec{
		Publish: []string{"s3://results/{job}/{cid}"}, Notify: []string{"exec:mail"},
	}}
	if got := job.Deliveries(); len(got) != 0 {
		t.Errorf("Deliveries of a running job = %v, want none", got)
	}
	tell := jobspec.Delivery{Kind: jobspec.DeliverNotify, To: "exec:mail", State: jobspec.DeliveryWaiting, Next: ended}
	send := jobspec.Delivery{Kind: jobspec.DeliverPublish, To: "s3://results/" + job.ID.String() + "/" + job.Result.String(), State: jobspec.DeliveryWaiting, Next: ended}
	for state, want := range map[jobspec.JobState][]jobspec.Delivery{
		jobspec.JobFailed: {tell}, jobspec.JobStopped: {tell}, jobspec.JobSucceeded: {send, tell},
	} {
		job.State = state
		if diff := cmp.Diff(want, job.Deliveries()); diff != "" {
			t.Errorf("Deliveries of a job that has %s (-want +got):\n%s", state, diff)
		}
	}
}
