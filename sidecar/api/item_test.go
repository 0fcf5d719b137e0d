package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

func TestItems(t *testing.T) {
	e := start(t)
	e.svc.add("alice", "j")
	const path = "/v1/jobs/j/items"
	for query, want := range map[string]string{
		"":                     "done failed",
		"?failed=true":         "failed",
		"?after=3/0":           "failed",
		"?after=3/1":           "",
		"?after=-1/7":          "done failed",
		"?limit=1":             "done",
		"?after=3/0&limit=100": "failed",
	} {
		r := e.ask("GET", path+query, "", bearer(alice))
		r.want(t, 200, "")
		var got []string
		for line := range strings.Lines(string(r.body)) {
			var it wire.Item
			if err := json.Unmarshal([]byte(line), &it); err != nil {
				t.Fatal(err)
			}
			got = append(got, it.Path)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("items%s = %q, want %q", query, got, want)
		}
	}
	for _, bad := range []string{"?after=x", "?after=3", "?after=03/1", "?after=-2/0", "?limit=0", "?failed=maybe"} {
		e.ask("GET", path+bad, "", bearer(alice)).want(t, 400, "E_SPEC")
	}
	e.ask("GET", path, "", bearer(bob)).want(t, 404, "E_NOT_FOUND")
}

func TestItemPlaces(t *testing.T) {
	p, err := api.ParseItemPlace("2/5")
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[api.ItemPlace]bool{{Task: 2, Index: 5}: false, {Task: 2, Index: 6}: true, {Task: 3}: true, {Task: 1, Index: 9}: false, {Task: -1}: false} {
		if got := p.Before(at); got != want {
			t.Errorf("%s.Before(%s) = %v, want %v", p, at, got, want)
		}
	}
}
