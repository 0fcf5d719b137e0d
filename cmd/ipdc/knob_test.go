package main

import (
	"reflect"
	"strings"
	"testing"
)

// Every field is in the table, with all that a user wants to know of it.
func TestSettingsTable(t *testing.T) {
	var s settings
	keys := map[string]bool{}
	for _, k := range s.table() {
		if keys[k.key] {
			t.Errorf("%s stands twice", k.key)
		}
		keys[k.key] = true
		if k.unit == "" || k.usage == "" || k.why == "" || k.def == "" && k.empty == "" {
			t.Errorf("%s lacks a unit, a meaning, a default or a reason: %+v", k.key, k)
		}
		if strings.ToLower(k.key) != k.key || strings.ContainsAny(k.key, "_. ") {
			t.Errorf("%s is no key: words of a-z with - between them", k.key)
		}
		if k.def == "" {
			continue
		}
		if err := k.take(nil); err != nil {
			t.Errorf("%s: default: %v", k.key, err)
		}
		if got := k.value(); got != k.def {
			t.Errorf("%s: default %q is shown as %q", k.key, k.def, got)
		}
	}
	for _, f := range fixed() {
		if keys[f.Name] || f.Value == "" || f.Value == "0" || f.Unit == "" || f.Means == "" || f.Reason == "" {
			t.Errorf("%s is a setting too, or lacks something: %+v", f.Name, f)
		}
		if _, err := s.knob(f.Name); err == nil || !strings.Contains(err.Error(), f.Value) {
			t.Errorf("knob(%s) = %v, want a refusal with %s", f.Name, err, f.Value)
		}
	}
	fields := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		if f.IsExported() {
			fields++
		}
	}
	if fields != len(keys) {
		t.Errorf("settings has %d fields, the table %d lines", fields, len(keys))
	}
}
