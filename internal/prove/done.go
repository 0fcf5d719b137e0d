package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/durable"
)

// The rounds that have ended well, a line each, and the page of them.
const (
	doneFile = "docs/campaigns.tsv"
	pageFile = "docs/campaigns.md"
)

// done is a round that has ended well.
type done struct {
	Name     string
	Round    int
	Revision string // of the code
	Ended    time.Time
	Took     time.Duration
	Figures  string // what it says of itself: executions of a fuzz target
}

const columns = 6

func (d done) line() string {
	return strings.Join([]string{d.Name, strconv.Itoa(d.Round), d.Revision, d.Ended.Format(time.RFC3339), d.Took.String(), d.Figures}, "\t") + "\n"
}

func parseDone(line string) (d done, err error) {
	f := strings.Split(line, "\t")
	if len(f) != columns {
		return done{}, fmt.Errorf("%d columns, want %d", len(f), columns)
	}
	d = done{Name: f[0], Revision: f[2], Figures: f[5]}
	if d.Round, err = strconv.Atoi(f[1]); err != nil {
		return done{}, err
	}
	if d.Ended, err = time.Parse(time.RFC3339, f[3]); err != nil {
		return done{}, err
	}
	d.Took, err = time.ParseDuration(f[4])
	return d, err
}

// save adds it to the file, in one write, and writes the page of all. Commands
// side by side wait for each other, so that the page has what both have done.
func (d done) save(list []campaign) error {
	if err := os.MkdirAll(filepath.Dir(doneFile), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(doneFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close() // which unlocks it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", doneFile, err)
	}
	if _, err := f.WriteString(d.line()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return writePage(list)
}

func loadDone() (ended []done, err error) {
	b, err := os.ReadFile(doneFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		d, err := parseDone(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", doneFile, n, err)
		}
		ended = append(ended, d)
	}
	return ended, nil
}

func has(ended []done, name string, round int) bool {
	return slices.ContainsFunc(ended, func(d done) bool { return d.Name == name && d.Round == round })
}

// writePage writes the page of what has been done so far.
func writePage(list []campaign) error {
	ended, err := loadDone()
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# Long campaigns\n\nWhat `make prove-long` has done, as it wrote it down in campaigns.tsv, a line a round. A round that fails is not\n" +
		"there: the campaign stops at it. The revision is that of the code; the figures are those of the last round.\n\n" +
		"| campaign | rounds that passed | time | last one ended | revisions | figures |\n|---|---|---|---|---|---|\n")
	for _, c := range list {
		var last done
		var took time.Duration
		var revisions []string
		rounds := 0
		for _, d := range ended {
			if d.Name != c.name {
				continue
			}
			last, took, rounds = d, took+d.Took, rounds+1
			if !slices.Contains(revisions, d.Revision) {
				revisions = append(revisions, d.Revision)
			}
		}
		at := ""
		if rounds > 0 {
			at = last.Ended.Format(time.RFC3339)
		}
		fmt.Fprintf(&b, "| %s | %d of %d | %s | %s | %s | %s |\n", c.name, rounds, c.rounds, took, at, strings.Join(revisions, ", "), last.Figures)
	}
	return durable.WriteFile(pageFile, []byte(b.String()), 0o644)
}
