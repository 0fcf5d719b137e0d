package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ipdc/ipdc/internal/testrun"
	"github.com/ipdc/ipdc/internal/threats"
)

// ends are how tests ended that are named by an id: "pass TestZ03Code".
type ends []string

func (e *ends) add(ev testrun.Event) {
	if len(threats.Named(ev.Test)) > 0 {
		*e = append(*e, ev.Action+" "+ev.Test)
	}
}

// save adds them to a file.
func (e ends) save(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	for _, line := range e {
		_, err = fmt.Fprintln(f, line)
	}
	return errors.Join(err, f.Close())
}

// load reads what was saved; a file that is not there has nothing.
func load(file string) (ends, error) {
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return strings.Split(string(b), "\n"), nil
}

// tables are the two, by what their rows are called.
var tables = []struct{ name, file string }{{"threat rows", "docs/threats.tsv"}, {"fault rows", "docs/faults.tsv"}}

// report counts the rows of both tables by what their tests came to.
func report(all ends) (string, error) {
	page, err := os.ReadFile("docs/threats.md")
	if err != nil {
		return "", err
	}
	var lists [][]threats.Row
	for _, t := range tables {
		b, err := os.ReadFile(t.file)
		if err != nil {
			return "", err
		}
		rows, err := threats.Parse(string(b))
		if err != nil {
			return "", fmt.Errorf("%s: %w", t.file, err)
		}
		lists = append(lists, rows)
	}
	return count(lists, all, threats.Explained(string(page))), nil
}

// count says for each table how many rows are proven, and names each row that
// is due and is not. A row is proven when a test named by it has passed, none
// has failed, and no whole one was skipped; a skipped part is only noted.
func count(lists [][]threats.Row, all ends, explained []string) string {
	passed, failed, missed, skipped := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string][]string{}
	for _, line := range all {
		action, test, _ := strings.Cut(line, " ")
		for _, id := range threats.Named(test) {
			switch action {
			case "pass":
				passed[id] = true
			case "fail":
				failed[id] = true
			case "skip":
				skipped[id] = append(skipped[id], test)
				if !strings.Contains(test, "/") && !slices.Contains(all, "pass "+test) { // another run may have done it
					missed[id] = true
				}
			}
		}
	}
	var counts, notes, silent []string
	note := func(id, what string) { notes = append(notes, fmt.Sprintf("  %s: %s\n", id, what)) }
	for i, rows := range lists {
		due, proven, told, later := 0, 0, 0, 0
		for _, r := range rows {
			good := passed[r.ID] && !failed[r.ID] && !missed[r.ID]
			switch {
			case !r.Due() && !good:
				later++
				continue
			case good:
				proven++
			case slices.Contains(explained, r.ID):
				told++
			case failed[r.ID]:
				note(r.ID, "failed")
			case skipped[r.ID] == nil:
				silent = append(silent, r.ID)
			}
			if skipped[r.ID] != nil {
				note(r.ID, "skipped: "+strings.Join(skipped[r.ID], " "))
			}
			due++
		}
		counts = append(counts, fmt.Sprintf("%s: %d of %d proven, %d explained in docs/threats.md, %d of parts that come later", tables[i].name, proven, due, told, later))
	}
	if len(silent) > 0 {
		notes = append(notes, "  no test named by them has run: "+strings.Join(silent, " ")+"\n")
	}
	return strings.Join(counts, "\n") + "\n" + strings.Join(notes, "")
}
