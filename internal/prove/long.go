package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// done is a round that has ended well.
type done struct {
	Name    string
	Round   int
	Ended   time.Time
	Took    time.Duration
	Figures string // what it says of itself: executions of a fuzz target
}

// The rounds that have ended, and what becomes of them.
const (
	doneFile     = "build/campaigns.json"
	evidenceFile = "docs/campaigns.md"
)

var (
	fuzzer     = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	executions = regexp.MustCompile(`execs: (\d+)`)
	figures    = regexp.MustCompile(`(?m)^.*campaign: (.+)$`)
)

// campaigns are the crash matrix, 20 rounds; all that has more to do where
// IPDC_PROVE_LONG is set; and each fuzz target for 10 minutes.
func campaigns() (list []campaign, err error) {
	list = []campaign{
		{"crash matrix, all cells", 20, "./e2e", []string{"-run", "^TestF01", "-timeout", "4h"}},
		{"faults, more rounds", 1, "./...", []string{"-run", "^Test([A-Z][0-9]{2})*F[0-9]{2}", "-skip", "^TestF01", "-p", "1", "-timeout", "4h"}},
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
// that fails.
func runLong(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 2, errors.New("long: want the command that runs tests")
	}
	list, err := campaigns()
	if err != nil {
		return 1, err
	}
	ended, err := loadDone()
	if err != nil {
		return 1, err
	}
	for _, c := range list {
		for round := 1; round <= c.rounds; round++ {
			if has(ended, c.name, round) {
				continue
			}
			fmt.Fprintf(out, "%s, round %d of %d\n", c.name, round, c.rounds)
			d, err := c.run(ctx, args, round, out)
			if err != nil {
				return 1, fmt.Errorf("%s, round %d: %w; make prove-long goes on here", c.name, round, err)
			}
			ended = append(ended, d)
			if err := saveDone(ended); err != nil {
				return 1, err
			}
			if err := os.WriteFile(evidenceFile, []byte(evidence(list, ended)), 0o644); err != nil {
				return 1, err
			}
		}
	}
	return 0, nil
}

// run does one round.
func (c campaign) run(ctx context.Context, command []string, round int, out io.Writer) (done, error) {
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
	d := done{Name: c.name, Round: round, Ended: time.Now().UTC().Truncate(time.Second), Took: time.Since(start).Truncate(time.Second)}
	if all := executions.FindAllStringSubmatch(said.String(), -1); len(all) > 0 {
		d.Figures = all[len(all)-1][1] + " executions"
	} else if all := figures.FindAllStringSubmatch(said.String(), -1); len(all) > 0 {
		d.Figures = all[len(all)-1][1]
	}
	return d, nil
}

func has(ended []done, name string, round int) bool {
	for _, d := range ended {
		if d.Name == name && d.Round == round {
			return true
		}
	}
	return false
}

func loadDone() (ended []done, err error) {
	b, err := os.ReadFile(doneFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return ended, json.Unmarshal(b, &ended)
}

func saveDone(ended []done) error {
	b, err := json.Marshal(ended)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(doneFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(doneFile+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(doneFile+".new", doneFile)
}

// evidence is the page of what has been done so far.
func evidence(list []campaign, ended []done) string {
	var b strings.Builder
	b.WriteString("# Long campaigns\n\nWhat `make prove-long` has done, as it wrote it down. A round that fails is not here: the campaign stops at it.\n\n" +
		"| campaign | rounds that passed | time | last one ended | figures |\n|---|---|---|---|---|\n")
	for _, c := range list {
		var last done
		var took time.Duration
		rounds := 0
		for _, d := range ended {
			if d.Name == c.name {
				last, took, rounds = d, took+d.Took, rounds+1
			}
		}
		at := ""
		if rounds > 0 {
			at = last.Ended.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "| %s | %d of %d | %s | %s | %s |\n", c.name, rounds, c.rounds, took, at, last.Figures)
	}
	return b.String()
}
