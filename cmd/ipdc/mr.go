package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ipdc/ipdc/workload/mapreduce"
)

func (a *app) mrCmd() *cobra.Command {
	return group("mr", "Map-reduce: Python functions or commands over data that is split", a.mrRunCmd(), a.mrPlanCmd(), a.ofTenant(a.mrStatusCmd()))
}

// mrFlags are the flags of mr run as they were typed.
type mrFlags struct {
	submitFlags
	job         mapreduce.Job
	mapFile     string
	reduceFile  string
	combine     optionalFile
	files       []string
	splitOfTask string
}

// optionalFile is the value of --combine[=FILE].
type optionalFile struct {
	set  bool
	file string
}

const noFile = "." // the value of the flag alone, which no file can be called

func (f *optionalFile) String() string { return f.file }
func (f *optionalFile) Type() string   { return "file" }

// Set takes a file, or that none was given.
func (f *optionalFile) Set(s string) error {
	f.set, f.file = true, s
	if s == noFile {
		f.file = ""
	}
	return nil
}

const mrHelp = `
  --map FILE.py --reduce FILE.py
      def map(key, value) is called for each record: key is (path, offset), value
      the line as text (or by --records a whole file or N bytes, as bytes). It
      yields (key, value) pairs. def reduce(key, values) is called for each key,
      values being an iterator; the pairs that it yields become lines KEY TAB
      VALUE, text becomes a line, bytes are written as they are. With --combine
      def combine(key, values) makes few pairs of many before they are sent. All
      may stand in one file.
  --mapper COMMAND --reducer COMMAND
      shell commands in any language, by Hadoop streaming's contract: lines on
      standard input, lines KEY TAB VALUE on standard output; the reducer gets
      the lines of its part, sorted as LC_ALL=C sort does. Without one of them
      lines pass as they are.

The result has the files part-00000 to K - 1. A key is in one of them, and within
each keys are in order; with --partition range they are in order one file behind
the other. Files named by --file lie beside the program; commands begin among
them. docs/mapreduce.md has the contracts.
`

func (a *app) mrRunCmd() *cobra.Command {
	f := &mrFlags{}
	cmd := &cobra.Command{
		Use:   "run (--map FILE --reduce FILE | --mapper CMD --reducer CMD) -c CID|PATH [-k K]",
		Short: "Run a map-reduce and print the result CID",
		Long:  "Run splits the input, runs map over each split and reduce over each of K parts,\nand waits for the result. Standard output is the result CID and nothing else.\n" + mrHelp,
		Example: `  ipdc mr run -k 4 --map Map.py --reduce Reduce.py --combine -c bafy... --out counts
  ipdc mr run --mapper 'tr -s " " "\n"' --reducer 'uniq -c' -c texts/
  ipdc mr run --mapper 'python3 map.py' --reducer 'python3 reduce.py' --file map.py --file reduce.py -c bafy...
  ipdc mr run -k 8 --partition range --records bytes:100 --map sort.py --reduce sort.py -c bafy...`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.mrRun(cmd.Context(), f) },
	}
	f.add(cmd.Flags())
	f.addSend(cmd.Flags())
	return cmd
}

func (a *app) mrPlanCmd() *cobra.Command {
	f := &mrFlags{}
	f.plan = true
	cmd := &cobra.Command{
		Use:   "plan (--map FILE --reduce FILE | --mapper CMD --reducer CMD) -c CID|PATH [-k K]",
		Short: "Show what a map-reduce would do, and run nothing",
		Long: "Plan takes what run takes and prints the map tasks with their splits, bytes and\n" +
			"nodes, how many of them are remembered, and who could run them. A local input and\n" +
			"the program are added to the node, as by run, and are let go of when the plan is done.\n",
		Example: "  ipdc mr plan -k 4 --map Map.py --reduce Reduce.py -c bafy...",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.mrRun(cmd.Context(), f) },
	}
	f.add(cmd.Flags())
	return cmd
}

// add adds the flags of run and plan.
func (f *mrFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.mapFile, "map", "", "Python file with def map(key, value)")
	fs.StringVar(&f.reduceFile, "reduce", "", "Python file with def reduce(key, values)")
	fs.Var(&f.combine, "combine", "combine pairs before they are sent, by def combine(key, values) in the map file, the reduce file, or another: --combine=FILE")
	fs.Lookup("combine").NoOptDefVal = noFile
	fs.StringVar(&f.job.Mapper, "mapper", "", "shell command from lines to lines KEY TAB VALUE")
	fs.StringVar(&f.job.Reducer, "reducer", "", "shell command from sorted lines to a part of the result")
	fs.StringVar(&f.job.Combiner, "combiner", "", "with --mapper: shell command from sorted lines to fewer lines of the same form")
	fs.IntVarP(&f.job.K, "parts", "k", mapreduce.DefaultK, "parts of the result, and tasks that reduce; any number, also more than there are nodes")
	fs.StringVarP(&f.input, "cid", "c", "", "input: CID, CID/path, /ipfs/..., ipfs://..., a dataset (NAME, NAME@VERSION), or a local path, which is added first; a .car file is imported")
	f.addOnlyNew(fs)
	fs.StringVar(&f.job.Records, "records", "lines", "what map is called for, or how input is cut: lines, file (whole files) or bytes:N (records of N bytes)")
	fs.StringVar(&f.job.Partition, "partition", "hash", "which part a key is in: hash, or range (in order, by a sample of all keys, which runs map once more)")
	fs.StringVar(&f.splitOfTask, "split-size", "", "the input that each map task aims at (default 64MiB)")
	fs.StringArrayVar(&f.files, "file", nil, "file to put beside the program (repeatable)")
	f.addRun(fs)
}

func (a *app) mrRun(ctx context.Context, f *mrFlags) error {
	if !f.dryRun {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
	}
	req, notes, err := f.request()
	if err != nil {
		return err
	}
	for _, note := range notes {
		a.say("%s", note)
	}
	return a.sendJob(ctx, &f.submitFlags, req)
}

// request is what is submitted.
func (f *mrFlags) request() (req request, notes []string, err error) {
	if f.input == "" {
		return req, nil, usagef("there is nothing to map: give the input with -c CID|PATH")
	}
	if err := cmp.Or(mapreduce.CheckK(f.job.K), f.read()); err != nil {
		return req, nil, err
	}
	p, err := f.job.Program()
	if err != nil {
		return req, nil, err
	}
	req.spec, req.code = p.Spec, p.Code
	if p.Spec.Stages[0].Run.Image == "shell" && f.image == "" {
		f.expr = f.job.Mapper + f.job.Reducer // for what is said about requirements
	}
	for _, set := range []func() error{
		func() error { return req.apply(&f.submitFlags) },
		func() error { return req.setPlace(&f.submitFlags) },
		func() error { return req.setRequirements(&f.submitFlags) },
		func() error { return req.setInput(f.input) },
		func() error { return req.setOnlyNew(f.onlyNew) },
		req.validate,
	} {
		if err := set(); err != nil {
			return req, nil, err
		}
	}
	return req, p.Notes, nil
}

// read reads the files that the flags name.
func (f *mrFlags) read() error {
	f.job.Image, f.job.Combine = f.image, f.combine.set
	for _, file := range []struct {
		path string
		to   *mapreduce.File
	}{{f.mapFile, &f.job.Map}, {f.reduceFile, &f.job.Reduce}, {f.combine.file, &f.job.CombineFile}} {
		if file.path == "" {
			continue
		}
		b, err := os.ReadFile(file.path)
		if err != nil {
			return usageError{err}
		}
		*file.to = mapreduce.File{Name: filepath.Base(file.path), Source: b}
	}
	var err error
	if f.job.Files, err = readBeside(f.files); err != nil {
		return err
	}
	return setting("split-size", f.splitOfTask, &f.job.SplitSize)
}

// maxFiles bounds the files beside the program in bytes.
const maxFiles = 64 << 20

// readBeside reads the files that lie beside the program, by their names there.
func readBeside(paths []string) (map[string][]byte, error) {
	files := map[string][]byte{}
	total := 0
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, usageError{err}
		}
		name := filepath.Base(path)
		if _, ok := files[name]; ok {
			return nil, usagef("--file %s: another file of that name is given: rename one", path)
		}
		if total += len(b); total > maxFiles {
			return nil, usagef("--file %s: the files beside the program have more than %d MiB in all: put data into the input", path, maxFiles>>20)
		}
		files[name] = b
	}
	return files, nil
}
