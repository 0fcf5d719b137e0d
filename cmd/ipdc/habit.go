package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// habits are words of docker, kubectl and ipfs that are no commands here, with
// what does the same.
var habits = map[string]string{
	"run": "ipdc job submit", "exec": "ipdc job submit", "create": "ipdc job submit", "apply": "ipdc job submit SPEC.yaml",
	"submit": "ipdc job submit", "ps": "ipdc job list", "jobs": "ipdc job list", "logs": "ipdc job logs", "wait": "ipdc job wait",
	"describe": "ipdc job describe", "inspect": "ipdc job describe", "events": "ipdc job events",
	"stop": "ipdc job stop", "kill": "ipdc job stop", "delete": "ipdc job rm", "rm": "ipdc job rm", "prune": "ipdc job prune",
	"images": "ipdc image list", "pull": "ipdc image pull", "push": "ipdc image push", "build": "ipdc image build",
	"cat": "ipdc get CID -", "dag": "ipdc export and ipdc import", "repo": "ipdc node gc and ipdc node status",
	"daemon": "ipdc node start", "start": "ipdc node start -d", "init": "ipdc node start -d", "id": "ipdc node status -q",
	"info": "ipdc node status or ipdc doctor", "status": "ipdc node status", "shutdown": "ipdc node stop",
	"gc": "ipdc node gc", "verify": "ipdc receipt verify", "list": "ipdc job list, ipdc pin ls or ipdc ls CID",
	"cp": "ipdc get CID DEST", "save": "ipdc export", "load": "ipdc import", "login": "ipdc token create",
}

// helpOrUnknown is what a command that only holds others does by itself.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	err := fmt.Errorf("unknown command %q for %q; see %s --help", args[0], cmd.CommandPath(), cmd.CommandPath())
	near := cmd.SuggestionsFor(args[0])
	if habit := habits[args[0]]; habit != "" && !cmd.HasParent() {
		near = []string{habit}
	}
	if len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return usageError{err}
}

// flagError names the nearest flag for one that is not known.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		if near := nearestFlag(cmd, unknown.GetSpecifiedName()); near != "" {
			return usageError{fmt.Errorf("%w; did you mean --%s? see %s --help", err, near, cmd.CommandPath())}
		}
	}
	return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// nearestFlag returns the flag of cmd that name may be a mistake for, or "".
func nearestFlag(cmd *cobra.Command, name string) (near string) {
	best := 1 + len(name)/3 // so many letters may be wrong
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		d := distance(name, f.Name)
		if strings.HasPrefix(f.Name, name) && len(name) > 2 {
			d = 0
		}
		if !f.Hidden && (d < best || d == best && near == "") {
			best, near = d, f.Name
		}
	})
	return near
}

// distance is how many letters are to be changed, added or left out to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := last
			if a[i] != b[j] {
				change++
			}
			last = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
