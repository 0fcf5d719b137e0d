// Command prove says what the tests have shown.
//
//	prove run [-to FILE] [-count] -- go test -json ./...
//
// runs tests, prints what go test prints without -json, and keeps in FILE how
// those ended that are named by a row of docs/threats.tsv or docs/faults.tsv.
// It names the slowest tests, and adds how long each took to FILE.times. With
// -count it says at the end how many rows are proven by all that FILE has.
// Its exit code is that of the tests.
//
//	prove guarantees [-only G01,G02] -- go test -json
//
// runs what docs/guarantees.md names, and prints what each test came to.
//
//	prove long [-only fuzz] -- go test
//
// runs the campaigns that take hours, and writes docs/campaigns.tsv and the page
// docs/campaigns.md. It goes on where it was stopped; two that run different
// campaigns may run side by side. All are run in the module's root.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ipdc/ipdc/internal/testrun"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run does what the arguments ask for and returns the exit code.
func run(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("want a command: run, guarantees, long")
	}
	switch args[0] {
	case "run":
		return runTests(ctx, args[1:], out)
	case "guarantees":
		return runGuarantees(ctx, args[1:], out)
	case "long":
		return runLong(ctx, args[1:], out)
	}
	return 2, fmt.Errorf("no command %q: want run, guarantees, long", args[0])
}

func runTests(ctx context.Context, args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	to := flags.String("to", "", "a `file` that the ends of named tests are added to")
	count := flags.Bool("count", false, "say at the end how many rows are proven")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if flags.NArg() == 0 {
		return 2, errors.New("run: want the command to run")
	}
	// The count comes before the last lines of go test, which say how it ended.
	var last bytes.Buffer
	summary := out
	if *count {
		summary = &last
	}
	var ends ends
	var times times
	code, err := testrun.Run(ctx, flags.Args(), out, summary, func(e testrun.Event) { ends.add(e); times.add(e) })
	if *to != "" {
		err = errors.Join(err, ends.save(*to), times.save(*to+".times"))
	}
	fmt.Fprint(out, times.slowest())
	if *count {
		all, loadErr := load(*to)
		counted, countErr := report(all)
		err = errors.Join(err, loadErr, countErr)
		fmt.Fprint(out, counted, last.String())
	}
	return code, err
}
