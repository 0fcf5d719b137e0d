package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// campaign is a test that is run for long. Each of its rounds runs once.
type campaign struct {
	name   string
	rounds int
	pkg    string
	args   []string
}

var fuzzer = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// campaigns are the crash matrix, 20 rounds; all that has more to do where
// IPDC_PROVE_LONG is set; and each fuzz target for 10 minutes.
func campaigns() (list []campaign, err error) {
	list = []campaign{
		{"crash matrix, all cells", 20, "./e2e", []string{"-v", "-run", "^TestF01", "-parallel", "4", "-timeout", "4h"}},
		{"faults, more rounds", 1, "./...", []string{"-v", "-run", "^Test([A-Z][0-9]{2})*F[0-9]{2}", "-skip", "^TestF01", "-p", "1", "-timeout", "4h"}},
	}
	err = filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "build/") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range fuzzer.FindAllSubmatch(source, -1) {
			pkg := "./" + filepath.ToSlash(filepath.Dir(path))
			list = append(list, campaign{"fuzz " + pkg[2:] + " " + string(m[1]), 1, pkg,
				[]string{"-run", "^$", "-fuzz", "^" + string(m[1]) + "$", "-fuzztime", "10m", "-timeout", "1h"}})
		}
		return err
	})
	return list, err
}

// runLong does the rounds that have not been done, and ends at the first one
// that fails: "long [-only WORDS] -- go test ...".
func runLong(ctx context.Context, args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("long", flag.ContinueOnError)
	only := flags.String("only", "", "a `part` of the names of the campaigns to run, such as fuzz")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	if flags.NArg() == 0 {
		return 2, errors.New("long: want the command that runs tests")
	}
	list, err := campaigns()
	if err != nil {
		return 1, err
	}
	ran := false
	for _, c := range list {
		if !strings.Contains(c.name, *only) {
			continue
		}
		ran = true
		for round := 1; round <= c.rounds; round++ {
			// Another command may do other campaigns meanwhile.
			if ended, err := loadDone(); err != nil {
				return 1, err
			} else if has(ended, c.name, round) {
				continue
			}
			fmt.Fprintf(out, "%s, round %d of %d\n", c.name, round, c.rounds)
			d, err := c.run(ctx, flags.Args(), round, out)
			if err != nil {
				return 1, fmt.Errorf("%s, round %d: %w; make prove-long goes on here", c.name, round, err)
			}
			if err := d.save(list); err != nil {
				return 1, err
			}
		}
	}
	if !ran {
		return 2, fmt.Errorf("long: no campaign is named like %q", *only)
	}
	return 0, nil
}

// run does one round.
func (c campaign) run(ctx context.Context, command []string, round int, out io.Writer) (done, error) {
	revision, err := revision(ctx)
	if err != nil {
		return done{}, err
	}
	args := append(append(command[1:len(command):len(command)], "-count=1"), append(c.args, c.pkg)...)
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], args...)
	cmd.Env = append(os.Environ(), "IPDC_PROVE_LONG=1")
	cmd.Stdout, cmd.Stderr = io.MultiWriter(out, &said), os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return done{}, err
	}
	return done{
		Name: c.name, Round: round, Revision: revision, Ended: time.Now().UTC().Truncate(time.Second),
		Took: time.Since(start).Truncate(time.Second), Figures: figures(said.String()),
	}, nil
}

var (
	executions = regexp.MustCompile(`execs: (\d+)`)
	campaigned = regexp.MustCompile(`(?m)^campaign: (.+)$`) // what a test says of itself
	passed     = regexp.MustCompile(`(?m)^\s*--- PASS: `)
	skipped    = regexp.MustCompile(`(?m)^\s*--- SKIP: `)
)

// figures are what a round says of itself.
func figures(said string) string {
	if all := executions.FindAllStringSubmatch(said, -1); len(all) > 0 {
		return all[len(all)-1][1] + " executions"
	}
	text := fmt.Sprintf("%d tests and cells passed, %d skipped", len(passed.FindAllString(said, -1)), len(skipped.FindAllString(said, -1)))
	for _, m := range campaigned.FindAllStringSubmatch(said, -1) {
		text += "; " + m[1]
	}
	return text
}

// revision names the code that runs: the last commit that changed it, with a +
// behind it where it has changed since.
func revision(ctx context.Context) (string, error) {
	code := []string{"--", "*.go", "go.mod", "images"}
	last, err := exec.CommandContext(ctx, "git", append([]string{"log", "-1", "--format=%h"}, code...)...).Output()
	if err != nil {
		return "", fmt.Errorf("ask git for the revision: %w", err)
	}
	changed, err := exec.CommandContext(ctx, "git", append([]string{"status", "--porcelain"}, code...)...).Output()
	if err != nil {
		return "", fmt.Errorf("ask git for changes: %w", err)
	}
	if len(changed) > 0 {
		return strings.TrimSpace(string(last)) + "+", nil
	}
	return strings.TrimSpace(string(last)), nil
}
