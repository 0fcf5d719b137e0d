package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ipdc/ipdc/internal/testrun"
	"github.com/ipdc/ipdc/internal/threats"
)

// runGuarantees runs the tests that docs/guarantees.md names and prints what
// each came to: "guarantees [-only G01,G02] -- go test -json ...". The exit
// code is 1 unless all have passed.
func runGuarantees(ctx context.Context, args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("guarantees", flag.ContinueOnError)
	only := flags.String("only", "", "the `ids` to look at, with commas between them")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if flags.NArg() == 0 {
		return 2, errors.New("guarantees: want the command that runs tests")
	}
	page, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		return 1, err
	}
	list, err := threats.Guarantees(string(page))
	if err != nil {
		return 1, fmt.Errorf("docs/guarantees.md: %w", err)
	}
	if *only != "" {
		ids := strings.Split(*only, ",")
		for _, id := range ids {
			if !slices.ContainsFunc(list, func(g threats.Guarantee) bool { return g.ID == id }) {
				return 2, fmt.Errorf("docs/guarantees.md has no guarantee %q, only %s to %s", id, list[0].ID, list[len(list)-1].ID)
			}
		}
		list = slices.DeleteFunc(list, func(g threats.Guarantee) bool { return !slices.Contains(ids, g.ID) })
	}
	results, err := runEach(ctx, flags.Args(), out, list)
	if err != nil {
		return 1, err
	}
	if !table(out, list, results) {
		return 1, nil
	}
	return 0, nil
}

// runEach runs the tests of each package in one command and returns how they
// ended.
func runEach(ctx context.Context, command []string, out io.Writer, list []threats.Guarantee) (map[threats.Test]string, error) {
	names := map[string][]string{}
	for _, g := range list {
		for _, t := range g.Tests {
			if !slices.Contains(names[t.Package], t.Name) {
				names[t.Package] = append(names[t.Package], t.Name)
			}
		}
	}
	results := map[threats.Test]string{}
	for _, pkg := range slices.Sorted(maps.Keys(names)) {
		good := true
		ended := func(e testrun.Event) {
			results[threats.Test{Package: pkg, Name: e.Test}] = e.Action
			good = good && (e.Action != "fail" || e.Test == "")
		}
		args := slices.Concat(command, []string{"-count=1", "-run", "^(" + strings.Join(names[pkg], "|") + ")$", "./" + pkg})
		code, err := testrun.Run(ctx, args, out, out, ended)
		if err != nil {
			return nil, err
		}
		for _, name := range names[pkg] {
			if test := (threats.Test{Package: pkg, Name: name}); code != 0 && good && results[test] == "pass" {
				results[test] = "package failed" // behind its tests
			}
		}
	}
	return results, ctx.Err()
}

// table prints a line for each test and says whether all have passed.
func table(out io.Writer, list []threats.Guarantee, results map[threats.Test]string) bool {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\n\tRESULT\tTEST\tGUARANTEE")
	good := 0
	for _, g := range list {
		holds, id, promise := true, g.ID, g.Promise
		for _, t := range g.Tests {
			result := results[t]
			if result == "" {
				result = "did not run"
			}
			holds = holds && result == "pass"
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", id, result, t, promise)
			id, promise = "", ""
		}
		if holds {
			good++
		}
	}
	_ = w.Flush() // as Fprint to out
	fmt.Fprintf(out, "\n%d of %d guarantees hold\n", good, len(list))
	return good == len(list)
}
