package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/workload/tensorflow"
)

// tfRunFlags are the flags of tf run as they were typed.
type tfRunFlags struct {
	tfFlags
	submitFlags
	files    []string
	restarts int
}

func (a *app) tfRunCmd() *cobra.Command {
	f := &tfRunFlags{}
	cmd := &cobra.Command{
		Use: "run FILE.py [-c CID|PATH] [-- ARGUMENT...]", Short: "Train on a cluster of its own and print the result CID",
		Long: `Run starts a cluster, each task of which runs FILE.py, and waits for its end. The
tasks are those of ClusterSpec.conf or of the flags. TF_CONFIG tells each of them
who it is and where the others are; the input is at /inputs, and what a task
leaves in /outputs is in the result, in a folder of its name: worker-0/.

With parameter servers the training is over when all workers are. When a task
fails or is lost, all are started again, --restarts times at most; a task that
leaves directories in /outputs/checkpoints finds the newest one in /checkpoint.`,
		Example: `  ipdc tf run train.py --worker 2 -c digits/
  ipdc tf run train.py --ps 1 --worker 2 --memory 4GiB -c bafy... --out trained -- --epochs 20`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.tfRun(cmd.Context(), f, args[0], args[1:]) },
	}
	fs := cmd.Flags()
	f.tfFlags.add(fs)
	f.addRoles(fs)
	fs.StringVarP(&f.input, "cid", "c", "", "input: CID, CID/path, /ipfs/..., ipfs://..., or a local path, which is added first; a .car file is imported")
	fs.StringVar(&f.split, "split", "", "give each task a part of the input, not all of it: size (whole files), lines (large files are cut too), bytes or entries")
	fs.StringVar(&f.merge, "merge", "", "outputs of the tasks: shards (a folder for each) or union (default shards)")
	fs.StringArrayVar(&f.files, "file", nil, "file to put beside the script (repeatable)")
	fs.IntVar(&f.restarts, "restarts", 3, "how often all tasks are started again after one was lost or failed; 0 = never")
	f.addRun(fs)
	f.addSend(fs)
	tfDefaults(fs)
	fs.Lookup("timeout").Usage = "time of one task's run (default none)"
	fs.Lookup("total-timeout").Usage = "time of the whole job, waiting included (default none)"
	fs.Lookup("cache").Usage = "whether results are remembered; what a cluster gave is not (default off)"
	return cmd
}

func (a *app) tfRun(ctx context.Context, f *tfRunFlags, script string, args []string) error {
	if !f.dryRun {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
	}
	req, err := f.request(script, args)
	if err != nil {
		return err
	}
	return a.sendJob(ctx, &f.submitFlags, req)
}

// request is what is submitted.
func (f *tfRunFlags) request(script string, args []string) (req request, err error) {
	conf, _, err := f.conf()
	if err != nil {
		return req, err
	}
	text, err := os.ReadFile(script)
	if err != nil {
		return req, usageError{err}
	}
	files, err := readBeside(f.files)
	if err != nil {
		return req, err
	}
	name := filepath.Base(script)
	if _, ok := files[name]; ok {
		return req, usagef("--file %s: the script has that name: rename one", name)
	}
	files[name] = text
	if _, ok := files[tensorflow.HarnessFile]; ok {
		return req, usagef("%s: a file of ipdc's has that name beside the script: rename yours", tensorflow.HarnessFile)
	}
	job := tensorflow.Run(conf, name, files, args...)
	req.spec, req.files = job.Spec, job.Code
	g := req.spec.Gang
	if g.Restarts = f.restarts; f.restarts == 0 {
		g.Restart = jobspec.GangRestartNever
	}
	for _, set := range []func() error{
		func() error { return req.apply(&f.submitFlags) },
		func() error { return req.setPlace(&f.submitFlags) },
		func() error { return req.setRequirements(&f.submitFlags) },
		func() error { return req.setInput(f.input) },
		req.validate,
	} {
		if err := set(); err != nil {
			return req, err
		}
	}
	return req, nil
}
