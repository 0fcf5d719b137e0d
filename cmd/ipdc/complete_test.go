package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command that takes a job, and none that only holds others, completes
// its arguments.
func TestCompletionsAreComplete(t *testing.T) {
	root := (&app{out: io.Discard, err: io.Discard}).root()
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.HasSubCommands() && c.ValidArgsFunction != nil {
			t.Errorf("%s completes arguments that are commands", c.CommandPath())
		}
		if strings.Contains(c.Use, "JOB") && c.ValidArgsFunction == nil {
			t.Errorf("%s does not complete jobs", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

func TestNearestFlag(t *testing.T) {
	root := (&app{out: io.Discard, err: io.Discard}).root()
	cmd := find(root, "job submit")
	cmd.InheritedFlags() // merges them, as parsing does
	for name, want := range map[string]string{
		"memroy": "memory", "mem": "memory", "time": "timeout", "detatch": "detach", "cach": "cache", "outptu": "output", "label": "label",
		"xyzzy": "", "requirementz": "requirements",
	} {
		if cmd.Flags().Lookup(want) != nil && cmd.Flags().Lookup(want).Hidden {
			want = ""
		}
		if got := nearestFlag(cmd, name); got != want {
			t.Errorf("nearestFlag(%q) = %q, want %q", name, got, want)
		}
	}
}

// A habit names commands that there are.
func TestHabits(t *testing.T) {
	root := (&app{out: io.Discard, err: io.Discard}).root()
	for word, says := range habits {
		if c, _, err := root.Find([]string{word}); err == nil && c != root {
			t.Errorf("%q is a command: it needs no habit", word)
		}
		for _, path := range strings.Split(says, "ipdc ")[1:] {
			words := strings.Fields(strings.ReplaceAll(path, ",", ""))
			c, _, err := root.Find(words)
			if err != nil || c == root || c.HasSubCommands() && c.Name() != "doctor" { // which does something by itself
				t.Errorf("%q leads to %q, which is no command: %v", word, path, err)
			}
		}
	}
}
