package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A token is read from a file that is for its owner alone, and no command
// takes one as an argument, which stands in the list of processes.
func TestK04TokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o600: "secret", 0o400: "secret", 0o640: "", 0o604: "", 0o644: "", 0o601: ""} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if got, err := readToken(file); got != want || (err == nil) != (want != "") {
			t.Errorf("readToken of a file of mode %04o = %q, %v, want %q", mode, got, err, want)
		}
	}
	files := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		look := func(f *pflag.Flag) {
			switch f.Name {
			case "token-file":
				files++
			case "token", "password", "secret":
				t.Errorf("%s has --%s", c.CommandPath(), f.Name)
			}
		}
		c.Flags().VisitAll(look)
		c.PersistentFlags().VisitAll(look)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	if walk((&app{out: io.Discard, err: io.Discard}).root()); files == 0 {
		t.Error("no command has --token-file: the flags were not looked at")
	}
}
