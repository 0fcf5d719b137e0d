// Command ipdc-topwords is a workload of its own: it prints the words that
// stand most often in a dataset. Once it is on PATH, it is a command of ipdc:
//
//	go build -o ~/bin/ipdc-topwords ./examples/workload/ipdc-topwords
//	ipdc topwords -n 20 CID
//
// It uses packages client and jobspec only; docs/workloads.md goes through it.
package main

import (
	"bufio"
	"cmp"
	"context"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
)

// What the two stages run: POSIX shell and awk, which the stock image has.
var (
	//go:embed count.sh
	countWords string
	//go:embed sum.sh
	sumCounts string
)

func main() {
	n := flag.Int("n", 10, "how many `words`")
	k := flag.Int("k", 2, "how many tasks sum up")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: ipdc topwords [-n WORDS] [-k TASKS] CID")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, flag.Arg(0), *n, *k); err != nil {
		fmt.Fprintln(os.Stderr, "ipdc topwords:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, input string, n, k int) error {
	c, err := client.FromEnv()
	if err != nil {
		return err
	}
	defer c.Close()
	job, err := c.Submit(ctx, spec(input, k), "")
	if err != nil {
		return err // all that is wrong with the spec, each with its path
	}
	fmt.Fprintf(os.Stderr, "job %s submitted\n", job.ID)
	if job, err = c.Wait(ctx, job.ID.String()); err != nil {
		return err
	}
	if job.State != jobspec.JobSucceeded {
		return fmt.Errorf("job %s %s: %w", job.ID, job.State, job.Failure.Error())
	}
	words, err := read(ctx, c, job.Result.String())
	if err != nil {
		return err
	}
	slices.SortFunc(words, func(a, b word) int { return cmp.Or(b.count-a.count, strings.Compare(a.text, b.text)) })
	for _, w := range words[:min(n, len(words))] {
		fmt.Fprintf(out, "%d\t%s\n", w.count, w.text)
	}
	return nil
}

// spec is a job of two stages. Each task of "count" leaves k files in its
// outputs; task j of "sum" finds the j-th of each of them below /inputs.
func spec(input string, k int) jobspec.Spec {
	shell := func(program string) jobspec.Run {
		return jobspec.Run{Image: "shell", Command: []string{"sh", "-euc", program, "sh", strconv.Itoa(k)}}
	}
	return jobspec.Spec{
		Version: jobspec.Version,
		Name:    "topwords",
		Inputs:  []jobspec.Input{{CID: input}},
		Stages: []jobspec.Stage{
			{Name: "count", Partitions: k, Run: shell(countWords), Split: jobspec.Split{By: jobspec.SplitLines, Size: 16 * jobspec.MiB}},
			{Name: "sum", Needs: []string{"count"}, Run: shell(sumCounts)},
		},
	}
}

type word struct {
	text  string
	count int
}

// read downloads the files of the result, lines of "WORD TAB COUNT".
func read(ctx context.Context, c *client.Client, result string) (words []word, err error) {
	list, err := c.List(ctx, result)
	if err != nil {
		return nil, err
	}
	for _, e := range list.Entries {
		r, err := c.Download(ctx, e.CID, client.FormatRaw)
		if err != nil {
			return nil, err
		}
		part, err := parse(r)
		r.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name, err)
		}
		words = append(words, part...)
	}
	return words, nil
}

func parse(r io.Reader) (words []word, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, count, _ := strings.Cut(lines.Text(), "\t")
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		words = append(words, word{text, n})
	}
	return words, lines.Err()
}
