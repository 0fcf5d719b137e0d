package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/images"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/api"
	"github.com/ipdc/ipdc/wire"
)

// completeTime bounds what a shell waits for after TAB.
const completeTime = 500 * time.Millisecond

// addCompletions gives commands and flags their values. What a node knows is
// asked for each time; without a node there is nothing, in silence.
func (a *app) addCompletions(root *cobra.Command) {
	all := func(wire.Job) bool { return true }
	final := func(j wire.Job) bool { return j.State.Final() }
	live := func(j wire.Job) bool { return !j.State.Final() }
	result := func(j wire.Job) bool { return j.Result.Defined() || j.Partial.Defined() }
	for path, f := range map[string]cobra.CompletionFunc{
		"job describe": a.someJobs(1, all), "mr status": a.someJobs(1, all), "job logs": a.someJobs(1, all), "job wait": a.someJobs(1, all),
		"job events": a.someJobs(1, all), "job items": a.someJobs(1, all), "cl items": a.someJobs(1, all), "cl status": a.someJobs(1, all), "cl retry": a.someJobs(1, final), "job rerun": a.someJobs(1, all), "job forward": a.someJobs(1, live), "job merge": a.someJobs(1, final), "job publish": a.someJobs(1, final), "job get": a.someJobs(1, result),
		"job stop": a.someJobs(-1, live), "job rm": a.someJobs(-1, final),
		"get": a.somePins(1, false), "ls": a.somePins(1, false), "export": a.somePins(1, false),
		"pin add": a.somePins(-1, true), "pin rm": a.somePins(-1, false), "pin ls": a.somePins(-1, false),
		"cron show": a.someSchedules(1), "cron next": a.someSchedules(1), "cron run-now": a.someSchedules(1), "cron history": a.someSchedules(1),
		"cron pause": a.someSchedules(-1), "cron resume": a.someSchedules(-1), "cron rm": a.someSchedules(-1),
		"dataset append": a.datasetNames(1), "dataset show": a.datasetNames(1), "dataset head": a.datasetNames(1), "dataset diff": a.datasetNames(2), "dataset runs": a.datasetNames(1), "dataset rm": a.datasetNames(-1),
		"import": onlyFiles("car"), "image build": stockImages, "receipt verify": a.receiptArgs(all),
	} {
		find(root, path).ValidArgsFunction = f
	}
	for path, f := range map[string]cobra.CompletionFunc{
		"job prune --state": values(jobspec.JobSucceeded, jobspec.JobFailed, jobspec.JobStopped),
		"job list --state": values(jobspec.JobAccepted, jobspec.JobQueued, jobspec.JobRunning, jobspec.JobPublishing,
			jobspec.JobSucceeded, jobspec.JobFailed, jobspec.JobStopped),
		"export --car-version": values("1", "2"),
		"job submit --to":      a.members,
		"cl crawl --to":        a.members,
		"cl crawl --since":     a.someJobs(-1, result),
		"job merge --merge":    values(jobspec.MergeUnion, jobspec.MergeShards, jobspec.MergeConcat, jobspec.MergeNone),
		"job rerun --cache":    values(jobspec.CacheUse, jobspec.CacheRefresh, jobspec.CacheOff),
		"cron add --overlap":   values(jobspec.OverlapForbid, jobspec.OverlapAllow, jobspec.OverlapReplace),
		"cron add --catch-up":  values("none", "last", "all:10"),
		" --output":            values(formatJSON, formatYAML, formatWide, formatName, "text"),
	} {
		cmd, flag, _ := strings.Cut(path, "--")
		_ = find(root, cmd).RegisterFlagCompletionFunc(flag, f) // fails for a flag that is missing, which a test finds
	}
	for _, cmd := range []string{"job submit", "job plan", "cron add"} {
		for flag, f := range map[string]cobra.CompletionFunc{
			"image": a.imageNames, "cid": a.somePinsOrFiles, "file": onlyFiles("py"), "as": values(jobspec.AsFiles, jobspec.AsCAR),
			"cache": values(jobspec.CacheUse, jobspec.CacheRefresh, jobspec.CacheOff),
			"merge": values(jobspec.MergeUnion, jobspec.MergeShards, jobspec.MergeConcat), "split": values(jobspec.SplitSize, jobspec.SplitLines, jobspec.SplitBytes, jobspec.SplitEntries, jobspec.SplitCAR),
		} {
			_ = find(root, cmd).RegisterFlagCompletionFunc(flag, f)
		}
	}
}

// members completes who may take a job over.
func (a *app) members(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.ask(-1, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		list, err := c.Peers(ctx)
		out := []cobra.Completion{api.AnyMember + "\tthe member with most room"}
		for _, p := range list.Peers {
			out = append(out, p.ID+"\t"+p.Free.CPU.String()+" CPU free "+labels(p.Labels))
		}
		return out, err
	})(cmd, nil, begun)
}

func find(root *cobra.Command, path string) *cobra.Command {
	cmd, _, _ := root.Find(strings.Fields(path)) // a test finds a path that is wrong
	return cmd
}

// ask makes a completion of what a node lists, for the first n arguments; -1 is
// for all.
func (a *app) ask(n int, list func(context.Context, *client.Client) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
		defer cancel()
		var out []cobra.Completion
		err := a.reload()
		if err == nil {
			err = a.withClient(func(c *client.Client) error {
				out, err = list(ctx, c)
				return err
			})
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(out, func(s cobra.Completion) bool {
			word, _, _ := strings.Cut(s, "\t")
			return !strings.HasPrefix(word, begun) || slices.Contains(args, word)
		}), cobra.ShellCompDirectiveNoFileComp
	}
}

// someJobs completes ids, and @last, newest first.
func (a *app) someJobs(n int, want func(wire.Job) bool) cobra.CompletionFunc {
	return a.ask(n, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		jobs, err := c.Jobs(ctx, client.JobFilter{})
		if err != nil {
			return nil, err
		}
		var out []cobra.Completion
		for i, j := range jobs {
			if !want(j) {
				continue
			}
			about := strings.TrimSpace(visible(j.Spec.Name) + " " + string(j.State) + " " + ago(j.Submitted))
			if i == 0 {
				out = append(out, "@last\t"+about)
			}
			out = append(out, j.ID.String()+"\t"+about)
		}
		return out, nil
	})
}

// somePins completes the CIDs that are pinned by users, and with all those of
// jobs.
func (a *app) somePins(n int, all bool) cobra.CompletionFunc {
	return a.ask(n, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
		pins, err := c.Pins(ctx, all)
		if err != nil {
			return nil, err
		}
		var out []cobra.Completion
		for _, p := range pins {
			out = append(out, p.CID.String()+"\t"+p.Kind+" "+ago(p.Created))
		}
		return out, nil
	})
}

// somePinsOrFiles is for -c, which takes a local path too.
func (a *app) somePinsOrFiles(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	out, _ := a.somePins(-1, false)(cmd, nil, begun)
	names, _ := a.datasetNames(-1)(cmd, nil, begun)
	return append(names, out...), cobra.ShellCompDirectiveDefault
}

// receiptArgs completes jobs and files.
func (a *app) receiptArgs(want func(wire.Job) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		out, _ := a.someJobs(1, want)(cmd, args, begun)
		return out, cobra.ShellCompDirectiveDefault
	}
}

// imageNames completes the stock images by name and what else the engine has.
func (a *app) imageNames(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	out, _ := stockImages(cmd, args, begun)
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTime)
	defer cancel()
	if a.reload() == nil {
		if st, err := a.engineImages(ctx); err == nil {
			list, _ := st.List(ctx)
			for _, img := range list {
				out = append(out, img.Ref)
			}
			_ = st.Close()
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func stockImages(_ *cobra.Command, args []string, _ string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
	for _, r := range images.Stock() {
		if !slices.Contains(args, r.Name) {
			out = append(out, r.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// values completes fixed words.
func values[T ~string](words ...T) cobra.CompletionFunc {
	var out []cobra.Completion
	for _, w := range words {
		out = append(out, string(w))
	}
	return cobra.FixedCompletions(out, cobra.ShellCompDirectiveNoFileComp)
}

// onlyFiles completes files with an extension.
func onlyFiles(ext string) cobra.CompletionFunc {
	return cobra.FixedCompletions([]cobra.Completion{ext}, cobra.ShellCompDirectiveFilterFileExt)
}
