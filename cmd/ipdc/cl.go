package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/merge"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/cl"
	"github.com/ipdc/ipdc/workload/script"
)

func (a *app) clCmd() *cobra.Command {
	return group("cl", "Work at lists line by line, and crawl", a.clRunCmd(), a.clPlanCmd(), a.ofTenant(a.clStatusCmd()), a.ofTenant(a.clItemsCmd()), a.clRetryCmd(), a.clCrawlCmd())
}

// clFlags are the flags of cl run as they were typed.
type clFlags struct {
	submitFlags
	each      string
	slices    int
	retries   int
	keepGoing bool
}

func (a *app) clRunCmd() *cobra.Command {
	f := &clFlags{}
	cmd := &cobra.Command{
		Use:   "run (--each COMMAND | FILE.py) LIST",
		Short: "Run a program for each line of a list and print the result CID",
		Long: `Run does a program once for each line of LIST, which is a file, - for standard
input, the CID (CID/path) of a file, or one of a dataset (NAME/FILE), and waits for
the result: one directory with what each line gave. Empty lines are left out, equal
ones are each done.

  --each COMMAND  runs a shell command: the line on its standard input and in
                  $IPDC_LINE, its standard output kept. A line is never made a
                  part of the command, whatever is in it.
  FILE.py         calls the file's one public function, or its crawl(line), with
                  the line as text. It returns bytes, text, a dict, which is
                  stored as JSON, an iterable of bytes and text, None, or
                  (name, data).

The list is cut into -k slices, each a container; any number suits. An output is
named after its line. Lines that fail do not fail the job: each line's end, exit
code and stderr are in its record (ipdc cl items), and ipdc cl retry does those
again. Programs have no network but what --network grants; what they fetched is
remembered for cl retry only, unless --cache use says that it does not change.

List and program stay pinned, as what ipdc add stored, since cl items reads the
lines and cl retry both when the job is over, and a job keeps no inputs then. To
let go of them: ipdc pin rm CODE INPUT, which ipdc job describe shows.`,
		Example: `  ipdc cl run --each 'tr a-z A-Z' -k 4 words.txt
  ipdc cl run crawler.py -r requirements.txt --network example.org:443 urls.txt --out pages
  seq 1000 | ipdc cl run --each 'factor "$IPDC_LINE"' -k 10 -`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.clRun(cmd.Context(), f, args) },
	}
	f.add(cmd.Flags())
	f.addSend(cmd.Flags())
	return cmd
}

func (a *app) clPlanCmd() *cobra.Command {
	f := &clFlags{}
	f.plan = true
	cmd := &cobra.Command{
		Use:   "plan (--each COMMAND | FILE.py) LIST",
		Short: "Show what a run over a list would do, and run nothing",
		Long: "Plan takes what run takes and prints the slices with their lines and nodes, how many\n" +
			"lines are remembered, and who could run them. The list and the program are added to\n" +
			"the node, as by run, and are let go of when the plan is done; -o wide lists every line by the name of its output.\n",
		Example: "  ipdc cl plan --each 'tr a-z A-Z' -k 4 words.txt",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.clRun(cmd.Context(), f, args) },
	}
	f.add(cmd.Flags())
	return cmd
}

// add adds the flags of run and plan.
func (f *clFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.each, "each", "", "shell command to run for each line")
	fs.StringVar(&f.function, "function", "", "with FILE.py: the function to call")
	fs.IntVarP(&f.slices, "slices", "k", 0, "slices, which run independent of each other (default as many as the nodes suit)")
	fs.IntVar(&f.retries, "retries", 0, "how often a line that failed is tried again, behind the others of its slice, 0 to 10")
	fs.BoolVar(&f.keepGoing, "keep-going", true, "a line that fails does not fail the job")
	f.addRun(fs)
	fs.Lookup("cache").Usage = "remembered results: use, refresh or off (default use; refresh with --network)"
}

func (a *app) clRun(ctx context.Context, f *clFlags, args []string) error {
	if !f.dryRun {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
	}
	p, list, err := f.program(args)
	if err != nil {
		return err
	}
	lines, err := a.readList(ctx, list, f.dryRun)
	if err != nil {
		return err
	}
	req, err := f.request(p, lines)
	if err != nil {
		return err
	}
	a.say("%s in %s", count(int64(len(lines)), "line"), visible(list))
	return a.sendJob(ctx, &f.submitFlags, req)
}

// program returns what is run for each line, and the argument that names the
// list.
func (f *clFlags) program(args []string) (p script.Program, list string, err error) {
	file, list := "", args[0]
	if len(args) == 2 {
		file, list = args[0], args[1]
	}
	switch {
	case f.each == "" && file == "":
		return p, "", usagef("nothing to run: give --each COMMAND or a FILE.py before the list")
	case f.each != "" && file != "":
		return p, "", usagef("give --each COMMAND and the list, or FILE.py and the list, not all of them")
	case f.each != "" && f.function != "":
		return p, "", usagef("--function goes with FILE.py")
	case f.each != "":
		f.expr = f.each // for what is said about requirements
		return cl.Each(f.each), list, nil
	}
	src, err := os.ReadFile(file)
	if err != nil {
		return p, "", usageError{err}
	}
	p, err = cl.Python(src, filepath.Base(file), f.function)
	return p, list, err
}

// request is what is submitted for lines.
func (f *clFlags) request(p script.Program, lines []cl.Line) (request, error) {
	var req request
	if f.slices < 0 {
		return req, usagef("-k %d: want a number of slices", f.slices)
	}
	if err := cl.CheckSlices(len(lines), f.slices); err != nil {
		return req, err
	}
	req.spec, req.files = cl.Spec(p, cl.Job{Slices: f.slices, Retries: f.retries, StopAtFail: !f.keepGoing}), p.Files
	req.input = func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) { return packLines(ctx, s, lines) }
	if err := req.apply(&f.submitFlags); err != nil {
		return req, err
	}
	if err := req.setPlace(&f.submitFlags); err != nil {
		return req, err
	}
	if err := req.setRequirements(&f.submitFlags); err != nil {
		return req, err
	}
	req.spec.Cache = cmp.Or(req.spec.Cache, cl.Cache(req.spec))
	return req, req.validate()
}

// packLines makes the directory of the lines' files.
func packLines(ctx context.Context, s ipfs.Session, lines []cl.Line) (jobspec.CID, error) {
	files := make([]merge.File, len(lines))
	for i, l := range lines {
		c, n, err := pack.File(ctx, s, bytes.NewReader(l.Content()))
		if err != nil {
			return c, err
		}
		files[i] = merge.File{Path: l.Name, CID: c, Size: n}
	}
	return merge.Files(ctx, s, files)
}

// readList reads a list: standard input, a file behind a CID or of a dataset, or
// a local file. A name that is of two of them is refused, unless no node is to be
// asked.
func (a *app) readList(ctx context.Context, arg string, alone bool) (lines []cl.Line, err error) {
	if arg == "-" {
		return cl.Read(a.in)
	}
	_, failed := os.Lstat(arg)
	here, stored, guess := failed == nil, isStored(arg), maybeStored(arg)
	if stored || guess && (!here || !alone) {
		err = a.withClient(func(c *client.Client) error {
			if !stored && here {
				return listTwice(ctx, c, arg)
			}
			lines, err = readListOf(ctx, c, arg)
			return err
		})
		switch {
		case stored || err == nil && !here:
			return lines, err
		case errors.Is(err, jobspec.KindNotFound.Error()):
			return nil, noList(arg, failed, err)
		case err != nil:
			return nil, err
		}
	}
	file, err := os.Open(arg)
	if err != nil {
		return nil, usagef("LIST %q is neither -, nor a CID, nor a file of a dataset, nor one that can be read here: %w", arg, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.IsDir() {
		return nil, usagef("LIST %q is a directory; for a program that is run for each file: ipdc job submit", arg)
	}
	return cl.Read(file)
}

// isStored reports whether a list is named by CID, or is said to be in a dataset.
func isStored(arg string) bool {
	_, err := jobspec.ParsePath(arg)
	return err == nil || maybeStored(arg) && strings.HasPrefix(arg, "dataset:")
}

// maybeStored reports whether a list can be one of a dataset: NAME/ENTRY or
// NAME@VERSION/ENTRY.
func maybeStored(arg string) bool {
	name, entry, _ := strings.Cut(arg, "/")
	_, err := jobspec.ParseDatasetRef(name)
	return err == nil && entry != ""
}

// listTwice refuses a list that is here and in a dataset.
func listTwice(ctx context.Context, c *client.Client, arg string) error {
	if _, err := c.Resolve(ctx, arg); err != nil {
		return nil // what is here is what is meant; a node that is away is told of when the job is sent
	}
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Where: "LIST " + arg, Detail: "there are a file of a dataset and one here that are called so",
		Hint: fmt.Sprintf("say which: dataset:%s or ./%s", arg, arg),
	}.Error()
}

// noList says of a name in how many ways it was read.
func noList(arg string, here, stored error) error {
	return jobspec.Failure{
		Kind: jobspec.KindNotFound, Where: "LIST " + arg,
		Detail: fmt.Sprintf("it is neither a file here (%v) nor one of a dataset: %s", here, jobspec.AsFailure(stored).Detail),
		Hint:   "look at the path; `ipdc dataset list` shows the datasets",
	}.Error()
}

func readListOf(ctx context.Context, c *client.Client, path string) ([]cl.Line, error) {
	root, err := c.Resolve(ctx, path)
	if err != nil {
		return nil, err
	}
	body, err := c.Download(ctx, root, client.FormatRaw)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	defer body.Close()
	return cl.Read(io.LimitReader(body, cl.MaxList+1))
}
