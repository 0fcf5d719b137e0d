package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) jobItemsCmd() *cobra.Command {
	var f client.ItemFilter
	cmd := &cobra.Command{
		Use: "items JOB", Short: "Print how each file of a job ended",
		Long: "Items prints for each file that a job's program was run for how that ended: exit\n" +
			"code, tries, error, and with -o json the end of its stderr. What earlier jobs had\n" +
			"done is there as remembered. With -o json it is one JSON text on each line.\n" + refHelp,
		Example: "  ipdc job items @last --failed\n  ipdc job items 01kb -o json | jq -r 'select(.exit_code > 1).path'",
	}
	addItemFilter(cmd, &f)
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		p := &itemPrinter{app: a, head: []string{"FILE"}}
		err := a.eachItem(ctx, c, ref, f, func(it wire.Item) error { return p.print(it, it, it.Path) })
		return errors.Join(err, p.flush())
	})
}

func addItemFilter(cmd *cobra.Command, f *client.ItemFilter) {
	cmd.Flags().BoolVar(&f.Failed, "failed", false, "only those that failed, or were not run as their task ended before")
	cmd.Flags().IntVar(&f.Limit, "limit", 0, "at most this many (default all)")
}

// eachItem calls do for each item that f selects. A stream that is cut is gone
// on with where it was.
func (a *app) eachItem(ctx context.Context, c *client.Client, ref string, f client.ItemFilter, do func(wire.Item) error) error {
	j, err := c.Job(ctx, ref) // by id from here on: @last may name another job later
	if err != nil {
		return err
	}
	var mine error
	take := func(it wire.Item) error {
		if mine = do(it); mine == nil {
			f.After = it.At
			f.Limit--
		}
		return mine
	}
	limited := f.Limit > 0
	for tries := 1; ; tries++ {
		was := f.After
		err := c.Items(ctx, j.ID.String(), f, take)
		switch {
		case mine != nil || err == nil || limited && f.Limit <= 0:
			return mine
		case ctx.Err() != nil || was == f.After && tries >= 3:
			return err
		}
		if was != f.After {
			tries = 0
		}
		time.Sleep(time.Second)
	}
}

// itemPrinter prints items as rows of a table, some at a time, or as JSON.
type itemPrinter struct {
	*app
	head []string
	rows [][]string
}

// print prints one item: v as JSON, name with -q, else a row that ends with
// those cells.
func (p *itemPrinter) print(it wire.Item, v any, name string) error {
	switch p.format {
	case formatJSON, formatYAML:
		return p.printLine(v)
	case formatName:
		_, err := fmt.Fprintln(p.out, visible(name))
		return err
	}
	if p.rows == nil {
		p.rows = [][]string{append([]string{"STATE", "EXIT", "TRIES"}, append(p.head, "ERROR")...)}
	}
	exit, tries := "-", "-"
	if it.Tries > 0 {
		exit, tries = strconv.Itoa(it.ExitCode), strconv.Itoa(it.Tries)
	}
	p.rows = append(p.rows, []string{string(it.State), exit, tries, name, orDash(lastLine(it))})
	return nil
}

// lastLine is what says best why an item failed.
func lastLine(it wire.Item) string {
	text := strings.TrimRight(it.Stderr, "\n")
	text = strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
	if it.State != jobspec.ItemFailed || text == "" || strings.Contains(it.Error, text) {
		return it.Error
	}
	return it.Error + ": " + text
}

func (p *itemPrinter) flush() error {
	if p.rows == nil {
		return nil
	}
	return table(p.out, p.rows)
}

// countFailed returns how many items of a job failed, of how many. Of a task that
// succeeded, tries that failed do not count.
func countFailed(j wire.Job) (failed, total int) {
	last := map[int]jobspec.Attempt{}
	for _, at := range j.Attempts {
		had, ok := last[at.ID.Task]
		if at.Receipt != nil && (!ok || had.Failure != nil || at.Failure == nil) {
			last[at.ID.Task] = at
		}
	}
	for _, at := range last {
		failed += at.ItemsFailed
	}
	return failed, j.ItemsTotal
}
