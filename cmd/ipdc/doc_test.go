package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

//go:generate go test -run ^TestCLIDoc$ -update .

var update = flag.Bool("update", false, "write docs/cli.md")

const cliDoc = "../../docs/cli.md"

// docs/cli.md is what the commands themselves say.
func TestCLIDoc(t *testing.T) {
	t.Setenv("HOME", "/home/user")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("XDG_CACHE_HOME", "")
	var b bytes.Buffer
	fmt.Fprint(&b, cliHead)
	root := (&app{out: io.Discard, err: io.Discard}).root()
	root.InitDefaultCompletionCmd("completion")
	documentCommand(&b, root)
	documentSettings(&b)
	for _, both := range []string{"ipdc doctor", "ipdc tf"} { // with commands below them, and something to say
		if !strings.Contains(b.String(), "## "+both+"\n") {
			t.Errorf("docs/cli.md has no %s", both)
		}
	}
	if *update {
		if err := os.WriteFile(cliDoc, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(cliDoc)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("docs/cli.md is out of date, run make generate (-file +commands):\n%s", diff)
	}
}

const cliHead = `# The command line

Made by ` + "`make generate`" + ` from the commands' own help; do not edit.

Standard output is data, standard error is talk. Settings come from flags, then ` + "`IPDC_*`" + ` variables, then ` + "`config.yaml`" + ` in the
state directory or, unless ` + "`IPDC_PATH`" + ` is set, ` + "`~/.config/ipdc`" + `, then defaults. ` + "`ipdc NAME`" + ` runs ` + "`ipdc-NAME`" + ` from PATH where NAME
is no command here.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | error |
| 2 | wrong usage, or a spec that is refused |
| 3 | no node is listening |
| 4 | not found |
| 5 | no node can take the job, or the member that has it cannot be reached |
| 6 | the job failed; the program's own exit code is in the record |
| 7 | a signature or a block does not hold |
| 8 | the job was stopped |
| 124 | job wait --timeout was too short |
| 125, 126, 127 | the container or its command could not be started, as docker run |
| 130 | interrupted; the job goes on |

`

func documentCommand(w io.Writer, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() || cmd.Long != "" { // a group without more to say is its commands
		text := cmd.Long
		if text == "" {
			text = cmd.Short + "."
		}
		fmt.Fprintf(w, "## %s\n\n%s\n\n```\n%s\n```\n\n", cmd.CommandPath(), text, cmd.UseLine())
		if cmd.HasExample() {
			fmt.Fprintf(w, "```\n%s\n```\n\n", cmd.Example)
		}
		if flags := cmd.NonInheritedFlags(); flags.HasAvailableFlags() {
			fmt.Fprintf(w, "```\n%s```\n\n", flags.FlagUsages())
		}
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" {
			documentCommand(w, sub)
		}
	}
}

func documentSettings(w io.Writer) {
	fmt.Fprint(w, "## Settings\n\nKeys of `config.yaml`; `IPDC_KEY` in the environment; those with a flag are marked `--`.\n\n"+
		"| setting | default | unit | what it is | reason for the default |\n|---|---|---|---|---|\n")
	for _, k := range new(settings).table() {
		name := "`" + k.key + "`"
		if k.flag != inFile {
			name = "`--" + k.key + "`"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", name, tilde(cmp.Or(k.def, k.empty)), k.unit, k.usage, k.why)
	}
	fmt.Fprint(w, "\nNo settings, but shown with them: bounds that are the same on every node, and what a job has that does not say.\n\n"+
		"| name | value | from | unit | what it is | reason |\n|---|---|---|---|---|---|\n")
	for _, f := range fixed() {
		fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s | %s |\n", f.Name, f.Value, f.Origin, f.Unit, f.Means, f.Reason)
	}
}
