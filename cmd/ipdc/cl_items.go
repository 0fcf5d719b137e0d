package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
	"github.com/ipdc/ipdc/workload/cl"
)

// lineEnd is an item of a list's job with its line.
type lineEnd struct {
	Line  string `json:"line"`            // as text
	Bytes []byte `json:"bytes,omitempty"` // the line, where it is no UTF-8
	wire.Item
}

func (a *app) clItemsCmd() *cobra.Command {
	var f client.ItemFilter
	cmd := &cobra.Command{
		Use: "items JOB", Short: "Print how each line of a list ended",
		Long: "Items prints how each line of the list of ipdc cl run ended: exit code, tries, the\n" +
			"line, its error; with -o json, one JSON text on each line, also the end of its\n" +
			"stderr and the names of its outputs. What earlier jobs had done is there as\n" +
			"remembered.\n" + refHelp,
		Example: "  ipdc cl items @last --failed\n  ipdc cl items 01kb -o json --failed | jq -r .line >again.txt",
	}
	addItemFilter(cmd, &f)
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		j, err := a.clJob(ctx, c, ref)
		if err != nil {
			return err
		}
		lines := lineReader{c: c, input: j.Spec.Inputs[0].CID}
		p := &itemPrinter{app: a, head: []string{"LINE"}}
		err = a.eachItem(ctx, c, j.ID.String(), f, func(it wire.Item) error {
			text, err := lines.of(ctx, it.Path)
			if err != nil {
				return err
			}
			end := lineEnd{Line: string(text), Item: it}
			if !utf8.Valid(text) {
				end.Line, end.Bytes = string(bytes.ToValidUTF8(text, []byte("\ufffd"))), text
			}
			return p.print(it, end, end.Line)
		})
		return errors.Join(err, p.flush())
	})
}

func (a *app) clRetryCmd() *cobra.Command {
	f := &submitFlags{}
	cmd := &cobra.Command{
		Use: "retry JOB", Short: "Do the lines again that failed",
		Long: "Retry submits the job of a list again. Lines that are done are remembered, so that\n" +
			"only those are run that failed or were not come to; the result has the outputs of\n" +
			"all of them. Of a slice that failed as a whole (time or memory ran out, or the first\n" +
			"failed line ended it, with --keep-going=false) nothing is remembered: all its lines\n" +
			"are run again. The record of JOB has to be there still.\n" + refHelp,
		Example: "  ipdc cl retry @last",
	}
	cmd.Flags().StringVar(&f.out, "out", "", "download the result to this folder")
	cmd.Flags().BoolVarP(&f.detach, "detach", "d", false, "print the job id and do not wait")
	return a.withJob(cmd, func(ctx context.Context, c *client.Client, ref string, _ []string) error {
		if err := checkOut(f.out, f.detach); err != nil {
			return err
		}
		old, err := a.clJob(ctx, c, ref)
		if err != nil {
			return err
		}
		spec, err := cl.Again(old.Spec)
		if err != nil {
			return err
		}
		job, err := c.SubmitTo(ctx, old.Member, spec, rand.Text())
		if err != nil {
			return err
		}
		if f.detach {
			return a.printID(job)
		}
		return a.follow(ctx, c, job, f.out)
	})
}

// clJob returns a job of cl run.
func (a *app) clJob(ctx context.Context, c *client.Client, ref string) (wire.Job, error) {
	j, err := c.Job(ctx, ref)
	if err == nil && !isCL(j) {
		err = jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "job " + j.ID.String(), Detail: "it is not a job of ipdc cl run, so it has no lines",
			Hint: "see its files: ipdc job items " + j.ID.String(),
		}.Error()
	}
	return j, err
}

func isCL(j wire.Job) bool {
	_, ok := cl.StatusOf(j)
	return ok
}

// maxSingle is how many lines are read one by one; for more of them the whole
// list is.
const maxSingle = 64

// lineReader reads the lines that items were made of.
type lineReader struct {
	c     *client.Client
	input string // of the job
	asked int
	all   map[string][]byte // by name; nil = not read
}

func (r *lineReader) of(ctx context.Context, name string) ([]byte, error) {
	if r.asked++; r.asked == maxSingle {
		if err := r.readAll(ctx); err != nil {
			return nil, err
		}
	}
	if text, ok := r.all[name]; ok {
		return text, nil
	}
	root, err := r.c.Resolve(ctx, r.input+"/"+name)
	if err != nil {
		return nil, fmt.Errorf("line %s: %w", name, err)
	}
	body, err := r.c.Download(ctx, root, client.FormatRaw)
	if err != nil {
		return nil, fmt.Errorf("line %s: %w", name, err)
	}
	defer body.Close()
	text, err := bufio.NewReaderSize(body, cl.MaxLine+2).ReadSlice('\n')
	return bytes.TrimSuffix(bytes.Clone(text), []byte("\n")), err
}

// readAll reads the whole list.
func (r *lineReader) readAll(ctx context.Context) error {
	root, err := r.c.Resolve(ctx, r.input)
	if err != nil {
		return fmt.Errorf("list %s: %w", r.input, err)
	}
	body, err := r.c.Download(ctx, root, client.FormatTar)
	if err != nil {
		return fmt.Errorf("list %s: %w", r.input, err)
	}
	defer body.Close()
	r.all = map[string][]byte{}
	for in := tar.NewReader(bufio.NewReaderSize(body, 1<<20)); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", r.input, err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > cl.MaxLine+1 {
			continue
		}
		text, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("list %s: %w", r.input, err)
		}
		r.all[path.Base(h.Name)] = bytes.TrimSuffix(text, []byte("\n"))
	}
}
