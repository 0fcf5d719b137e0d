package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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

// Who may not read the settings of a node is told how to reach it.
func TestSettingsOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("IPDC_PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, configName), []byte("log-level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newLoader().load(); err != nil {
		t.Fatalf("load() by the owner: %v", err)
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	// Root may read all; a thread that is somebody else to the file system may not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Getuid() == 0 {
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Fatal(err)
		}
		defer unix.SetfsuidRetUid(0) //nolint:errcheck // the thread's own
	}
	_, err := newLoader().load()
	if want := "hint: this is another user's node: sudo IPDC_PATH=" + dir + " ipdc"; !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) {
		t.Errorf("load() by another user = %v, want %q", err, want)
	}
}
