package main

import (
	"context"
	"crypto/rand"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// submitFlags are the flags of job submit as they were typed.
type submitFlags struct {
	file, expr, function string
	once, keepGoing      bool
	input                string
	onlyNew              bool
	image, name          string
	cpu, memory, disk    string
	timeout, total       string
	env, labels, network []string
	publish, notify      []string
	cache, merge, keep   string
	attempts, into       int
	itemRetries          int
	replicate            int
	split, splitSize     string
	record               string
	requirements, wheels string
	allowBuild           bool
	as                   string
	place, overflow      string
	overflowAfter        string
	minWorkers           int
	require, expose      []string
	gpu                  int
	isolation            string

	out    string
	to     string
	detach bool
	dryRun bool
	plan   bool   // show the plan and submit nothing
	held   string // under which the node holds what was uploaded for a plan
	key    string

	exec functionFlags
}

func (a *app) jobSubmitCmd() *cobra.Command {
	f := &submitFlags{}
	cmd := &cobra.Command{
		Use:     "submit (-f FILE.py | -e COMMAND | -x CID|PATH | SPEC.yaml | -) [-c CID|PATH]",
		Aliases: []string{"run", "create"},
		Short:   "Run a program over the data behind a CID and print the result CID",
		Long: `Submit runs a program once for every file below the input and waits for the
result. Standard output is the result CID and nothing else.

  -f FILE.py   calls the file's one public function (or --function NAME) once
               per input file, with the file opened in binary mode. It returns
               bytes, text, an iterable of them, None, or (name, data). A file
               that defines no function runs once, as a script.
  -e COMMAND   runs a shell command once per input file: the file on its
               standard input, its standard output kept under the same name.
` + functionHelp + `  SPEC.yaml    a whole job spec; - reads it from standard input.

Programs see the input read-only at /inputs and write below /outputs. Packages
named by -r are installed once, in the same sandbox, from the package index
alone (node start --index), and are kept for further jobs. Programs have no
network but the hosts and ports that --network names. Ctrl-C leaves the job
running and says how to stop it.

With --to another member of the domain takes the job over and is its owner from
then on: it checks the job as a submit there, resolves its image and places its
tasks. This node asks it for all that the job commands show, by its id.`,
		Example: `  ipdc job submit -f process.py -c bafy... --out small
  ipdc job submit -f process.py -r requirements.txt -c bafy...
  ipdc job submit -e "sed -n /99./p" -c logs/
  ipdc job submit -x bafy... -c bafy...
  ipdc job submit --once -e "ls -R > /outputs/list.txt" -c bafy.../2024
  ipdc job submit --to any -f process.py -c photos/
  ipdc job submit job.yaml -d`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && f.file == "" && f.expr == "" && f.exec.path == "" && cmd.Flags().NFlag() == 0 {
				return usagef("nothing to run; give -f FILE.py, -e COMMAND, -x CID, or a job spec\nusage: %s", cmd.UseLine())
			}
			return a.submit(cmd.Context(), f, args)
		},
	}
	fs := cmd.Flags()
	f.addProgram(fs)
	f.addSend(fs)
	return cmd
}

// addProgram adds the flags that say what to run, and how.
func (f *submitFlags) addProgram(fs *pflag.FlagSet) {
	fs.StringVarP(&f.file, "file", "f", "", "Python file to run")
	fs.StringVarP(&f.expr, "expression", "e", "", "shell command to run")
	f.exec.add(fs)
	fs.StringVarP(&f.input, "cid", "c", "", "input: CID, CID/path, /ipfs/..., ipfs://..., a dataset (NAME, NAME@VERSION), or a local path, which is added first; a .car file is imported")
	f.addOnlyNew(fs)
	fs.StringVar(&f.function, "function", "", "with -f and -x: the function to call")
	fs.BoolVar(&f.once, "once", false, "run once over the whole input instead of once per file")
	fs.BoolVar(&f.keepGoing, "keep-going", false, "a file that fails does not fail the job")
	fs.IntVar(&f.itemRetries, "item-retries", 0, "how often a file that failed is tried again within its task, behind the others, 0 to 10")
	fs.StringVar(&f.split, "split", "", "a task per part of the input: size (whole files), lines (large files are cut too), bytes (these are cut between records), entries (each file or directory at its top) or car (each sector: what is named *.car)")
	fs.IntVar(&f.into, "into", 0, "so many parts of about the same size, with --split or for a program that runs once per file")
	fs.StringVar(&f.splitSize, "split-size", "", "with --split: the size that each part aims at (default 64MiB)")
	fs.StringVar(&f.record, "record", "", "with --split bytes: the length of a record, such as 100")
	fs.StringVar(&f.merge, "merge", "", "outputs of several tasks: union, shards or concat (default union; concat with --split lines|bytes)")
	fs.StringVar(&f.as, "as", "", "how the input is shown: files, or car for one file with any DAG (default files)")
	f.addRun(fs)
}

func (f *submitFlags) addOnlyNew(fs *pflag.FlagSet) {
	fs.BoolVar(&f.onlyNew, "only-new", false, "with a dataset: only the entries that the version lacked, or had otherwise, which the same job last ran over")
}

// addRun adds the flags that any job has, whatever its program and input are.
func (f *submitFlags) addRun(fs *pflag.FlagSet) {
	f.addTask(fs)
	f.addPlace(fs)
	fs.StringVar(&f.timeout, "timeout", "", "time of one task's run (default 15m)")
	fs.StringVar(&f.total, "total-timeout", "", "time of the whole job, waiting included (default 2h)")
	fs.StringVar(&f.cache, "cache", "", "remembered results: use, refresh or off (default use; off with --network, or where what --expose tells changes)")
	fs.StringSliceVar(&f.publish, "publish", nil, "where the result's files are sent to once it is safe: s3://BUCKET/PREFIX, https://HOST/PATH or file:///DIR, as the node permits (repeatable)")
	fs.StringSliceVar(&f.notify, "notify", nil, "who is told of the job's end: https://HOST/PATH or exec:NAME, as the node permits (repeatable)")
	fs.StringVar(&f.keep, "keep", "", "remove the job and its result so long after its end, such as 30d (default: keep it)")
	fs.IntVar(&f.replicate, "replicate", 0, "nodes that hold the result in all, where the domain has so many (default 2)")
	fs.IntVar(&f.attempts, "attempts", 0, "tries of a task that is lost (default 3)")
	fs.StringVarP(&f.requirements, "requirements", "r", "", "requirements.txt: Python packages that are installed once, before the program runs")
	fs.StringVar(&f.wheels, "wheels", "", "folder (or its CID) with wheels, which are then the only source of packages")
	fs.BoolVar(&f.allowBuild, "allow-build", false, "build packages that have no wheel from their source, in the sandbox")
}

// addTask adds the flags that say what a task of the job is and has.
func (f *submitFlags) addTask(fs *pflag.FlagSet) {
	fs.StringVar(&f.image, "image", "", "stock image (python, shell, tensorflow, crawler), one that the engine has, a reference such as debian:12, which is pulled, or the CID of ipdc image push")
	fs.StringVar(&f.name, "name", "", "name of the job")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "label of the job, KEY=VALUE (repeatable)")
	fs.StringArrayVarP(&f.env, "env", "E", nil, "environment of the program, NAME=VALUE or NAME (repeatable)")
	fs.StringSliceVar(&f.network, "network", nil, "HOST:PORT that the program may reach, through HTTPS_PROXY (repeatable, default none)")
	fs.StringVar(&f.cpu, "cpu", "", "processors of one task (default 1)")
	fs.StringVar(&f.memory, "memory", "", "memory of one task (default 512MiB)")
	fs.StringVar(&f.disk, "disk", "", "size of one task's /outputs (default 1GiB)")
	fs.IntVar(&f.gpu, "gpu", 0, "graphics processors of one task (default none); nodes have those that their engine gives containers by the nvidia runtime")
	fs.StringVar(&f.isolation, "isolation", "", "the wall around the program: standard, or strict for a kernel of its own (gVisor), where nodes have one (default standard)")
}

// addSend adds the flags that say what becomes of the job once it is described.
func (f *submitFlags) addSend(fs *pflag.FlagSet) {
	fs.StringVar(&f.out, "out", "", "download the result to this folder")
	fs.BoolVarP(&f.detach, "detach", "d", false, "print the job id and do not wait")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the completed spec with its CID and run nothing; needs no node")
	fs.StringVar(&f.to, "to", "", "the member that takes the job over: PEER (its id, a unique beginning or end of it, or its label name) or any, which is the one with most room for it")
	fs.StringVar(&f.key, "idempotency-key", "", "the same key and spec give the same job (default a new key)")
}

func (a *app) submit(ctx context.Context, f *submitFlags, args []string) error {
	if !f.dryRun {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
	}
	if err := f.oneProgram(args); err != nil {
		return err
	}
	defer a.endHold(ctx, f)
	if err := a.readFunction(ctx, f); err != nil {
		return err
	}
	req, err := a.request(f, args)
	if err != nil {
		return err
	}
	return a.sendJob(ctx, f, req)
}

// sendJob stores what a request needs, submits it and shows the job to its end,
// or does of it what the flags leave.
func (a *app) sendJob(ctx context.Context, f *submitFlags, req request) error {
	if f.dryRun {
		return a.dryRun(ctx, req)
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Node(ctx); err != nil { // before anything is uploaded
		return err
	}
	if req.twice != "" {
		if err := homonym(ctx, c, req.twice); err != nil {
			return err
		}
	}
	defer a.endHold(ctx, f)
	spec, err := a.placeAll(ctx, c, req, f.hold())
	if err != nil {
		return err
	}
	if f.plan {
		return a.printPlan(ctx, c, spec)
	}
	if f.key == "" {
		f.key = rand.Text() // a submit that is sent again makes no second job
	}
	job, err := c.SubmitTo(ctx, f.to, spec, f.key)
	if err != nil {
		return err
	}
	if job.Member != "" {
		a.say("%s took the job over", job.Member)
	}
	if f.detach {
		return a.printID(job)
	}
	return a.follow(ctx, c, job, f.out)
}

// storer makes a DAG and returns its root: on the node, or nowhere.
type storer func(fill func(context.Context, ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error)

// uploader stores on the node, as send.
func (a *app) uploader(ctx context.Context, c *client.Client, hold string) storer {
	return func(fill func(context.Context, ipfs.Session) (jobspec.CID, error)) (root jobspec.CID, err error) {
		err = a.send(ctx, c, hold, func(ctx context.Context, s ipfs.Session) (jobspec.CID, error) {
			root, err = fill(ctx, s)
			return root, err
		})
		return root, err
	}
}

func hasher(ctx context.Context) storer {
	return func(fill func(context.Context, ipfs.Session) (jobspec.CID, error)) (jobspec.CID, error) {
		return fill(ctx, car.NewWriter(io.Discard))
	}
}

// dryRun prints the spec as the node would store it.
func (a *app) dryRun(ctx context.Context, req request) error {
	spec, err := a.place(ctx, req, hasher(ctx))
	if err != nil {
		return err
	}
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return err
	}
	c, err := spec.CID()
	if err != nil {
		return err
	}
	if a.format == formatText {
		a.format = formatYAML
	}
	a.say("spec CID: %s", c)
	return a.print(spec, c.String(), nil)
}

// follow shows a job's progress until it ends, then its result.
func (a *app) follow(ctx context.Context, c *client.Client, job wire.Job, out string) error {
	p := &jobProgress{app: a, job: job}
	err := c.Events(ctx, job.ID.String(), 0, true, p.show)
	p.end()
	if ctx.Err() != nil {
		a.say("interrupted; job %s goes on\n  follow it: ipdc job wait %s\n  stop it:   ipdc job stop %s", job.ID, job.ID, job.ID)
		return errInterrupted
	}
	if err != nil {
		return err
	}
	if job, err = c.Wait(ctx, job.ID.String()); err != nil {
		return err
	}
	if job.State == jobspec.JobSucceeded {
		a.say("job %s succeeded in %s%s", job.ID, span(job.Finished.Sub(job.Submitted)), remembered(job, ", "))
	}
	if err := a.finish(ctx, c, job); err != nil || out == "" {
		return err
	}
	stat, err := a.download(ctx, c, job.Result, out, false)
	if err == nil {
		a.say("saved %s (%s, %s)", visible(out), size(stat.Bytes), count(stat.Files, "file"))
	}
	return err
}

// jobProgress turns events into a bar on a terminal and into lines elsewhere.
type jobProgress struct {
	*app
	job  wire.Job
	bar  *bar
	said int // last tenth that a line told
}

func (p *jobProgress) show(e jobspec.Event) error {
	switch e.Type {
	case jobspec.EventState:
		if e.Detail == string(jobspec.JobAccepted) {
			p.say("job %s submitted", p.job.ID)
		}
	case jobspec.EventWait, jobspec.EventStage:
		p.say("job %s %s", p.job.ID, visible(e.Detail))
	case jobspec.EventProgress:
		p.progress(e)
	}
	return nil
}

func (p *jobProgress) progress(e jobspec.Event) {
	if e.Total == 0 || p.quiet {
		return
	}
	if tty(p.err) {
		if p.bar == nil {
			p.bar = p.filesBar("run", int64(e.Total))
		}
		p.bar.set(int64(e.Done))
		return
	}
	if tenth := 10 * e.Done / e.Total; tenth > p.said {
		p.said = tenth
		p.say("%d of %d files done", e.Done, e.Total)
	}
}

func (p *jobProgress) end() {
	if p.bar != nil {
		p.bar.done()
	}
}
