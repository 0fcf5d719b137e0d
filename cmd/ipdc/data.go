package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

func (a *app) dataCmd() *cobra.Command {
	return group("data", "Serve CAR files where they lie, without a copy", a.dataAttachCmd(), a.dataListCmd(), a.dataVerifyCmd(), a.dataDetachCmd())
}

func (a *app) dataAttachCmd() *cobra.Command {
	var label string
	cmd := &cobra.Command{
		Use: "attach FILE.car|DIR", Short: "Serve a CAR file, or all below a directory, in place",
		Long: "Attach reads the file once and makes an index of its own; then jobs on this node and\n" +
			"members of the domain read its blocks from it, each verified. Nothing is copied. Of\n" +
			"a directory it takes each regular file whose name ends in .car, at any depth, and\n" +
			"follows no links. It prints the root: that of the file, or a directory with the root\n" +
			"of each file at its path, for a task per file with --split car. Asked again, it reads\n" +
			"what is new or has changed.",
		Example: "  ipdc data attach /data/sector.car\n" +
			"  ipdc job submit -e 'wc -c < /inputs.car > /outputs/bytes' --once -c $(ipdc data attach /data) --as car --split car --merge shards",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				out, err := a.whileReading(cmd.Context(), c, func() (wire.Attached, error) { return c.Attach(cmd.Context(), path, label) })
				if err != nil {
					return err
				}
				if err := a.print(out, out.Root.String(), func(w io.Writer) error {
					_, err := fmt.Fprintln(w, out.Root)
					return err
				}); err != nil {
					return err
				}
				a.sayAttached(out)
				return refusedFiles(out)
			})
		},
	}
	cmd.Flags().StringVar(&label, "label", "", "a name for what is attached, for list, verify and detach")
	return cmd
}

// sayAttached says what is to be known of attached files, beside their root.
func (a *app) sayAttached(out wire.Attached) {
	var bytes int64
	for _, f := range out.Files {
		bytes += f.Size
		if !f.Whole {
			a.say("%s: %s", f.Path, f.NotWhole)
		}
	}
	a.say("%s, %s, served in place", count(int64(len(out.Files)), "file"), size(bytes))
}

// refusedFiles is an error when some of a directory's files were refused.
func refusedFiles(out wire.Attached) error {
	if len(out.Refused) == 0 {
		return nil
	}
	var lines []string
	for _, r := range out.Refused {
		lines = append(lines, fmt.Sprintf("%s: %s: %s", r.Path, r.Failure.Kind, r.Failure.Detail))
	}
	return fmt.Errorf("%s could not be read as they should be:\n  %s", count(int64(len(out.Refused)), "file"), strings.Join(lines, "\n  "))
}

// whileReading shows how far the node is with reading files.
func (a *app) whileReading(ctx context.Context, c *client.Client, do func() (wire.Attached, error)) (wire.Attached, error) {
	bar := a.bytesBar("reading", 0)
	defer bar.done()
	type end struct {
		out wire.Attached
		err error
	}
	ended := make(chan end, 1)
	go func() {
		out, err := do()
		ended <- end{out, err}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-ended:
			return e.out, e.err
		case <-tick.C:
		}
		list, err := c.Attachments(ctx)
		for _, f := range list.Files {
			if err == nil && f.State == wire.AttachedIndexing && f.Done > 0 {
				bar.total(f.Size)
				bar.set(f.Done)
			}
		}
	}
}

func (a *app) dataListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List attached files and their state",
		Long: "List looks at each attached file. The state is ok, indexing, changed (it is another\n" +
			"file, or was written to), gone, unreadable or damaged (blocks are not what they were);\n" +
			"what is not ok is not served. -o wide shows checksums and when all was read last.",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				list, err := c.Attachments(cmd.Context())
				if err != nil {
					return err
				}
				if len(list.Files) == 0 {
					a.say("nothing is attached; to serve a CAR file in place: ipdc data attach FILE")
				}
				return a.printAttached(list, list.Files)
			})
		},
	}
}

func (a *app) printAttached(v any, files []wire.AttachedFile) error {
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	return a.print(v, strings.Join(paths, "\n"), func(w io.Writer) error {
		if len(files) == 0 {
			return nil
		}
		wide := a.format == formatWide
		head := []string{"ID", "STATE", "SIZE", "BLOCKS", "ROOT", "LABEL", "PATH"}
		if wide {
			head = append(head, "WHOLE", "IN PLACE", "VERIFIED", "SHA-256")
		}
		rows := [][]string{head}
		for _, f := range files {
			rows = append(rows, attachedRow(f, wide))
		}
		if err := table(w, rows); err != nil {
			return err
		}
		for _, f := range files {
			if f.Why != "" {
				a.say("%s %s; %s", f.Path, f.Why, adviceFor(f.State))
			}
		}
		return nil
	})
}

func attachedRow(f wire.AttachedFile, wide bool) []string {
	state, root := string(f.State), "-"
	if f.State == wire.AttachedIndexing && f.Size > 0 {
		state += fmt.Sprintf(" %d %%", 100*f.Done/f.Size)
	}
	if len(f.Roots) > 0 {
		root = f.Roots[0].String()
	}
	if n := len(f.Roots) - 1; n > 0 {
		root += fmt.Sprintf(" +%d", n)
	}
	row := []string{f.ID, state, size(f.Size), fmt.Sprint(f.Blocks), root, orNothing(f.Label), f.Path}
	if wide {
		row = append(row, yes(f.Whole), yes(f.InPlace), ago(f.Verified), f.SHA256)
	}
	return row
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// adviceFor is what to do about an attached file that is not ok.
func adviceFor(s wire.AttachedState) string {
	switch s {
	case wire.AttachedDamaged:
		return "put the file back from a copy, then: ipdc data verify FILE"
	case wire.AttachedChanged:
		return "index it anew: ipdc data verify FILE; or put the file back as it was"
	case wire.AttachedGone:
		return "put the file back, or: ipdc data detach FILE"
	}
	return "see its path and mode, and the user that the node runs as"
}

func (a *app) dataVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "verify [REF]", Short: "Read attached files again and check every block",
		Long: "Verify reads all attached files, or those that REF means: a path (./sectors, with\n" +
			"a slash), a directory, a label, a root, or at least the first 4 characters of an id. A\n" +
			"file that is another one now is indexed anew; of one that is unchanged the damaged\n" +
			"blocks are listed, and are not served. It ends with exit code 7 when some file is not\n" +
			"ok.",
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := attachedRef(args)
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				out, err := a.whileReading(cmd.Context(), c, func() (wire.Attached, error) { return c.VerifyAttached(cmd.Context(), ref) })
				if err != nil {
					return err
				}
				if err := a.printAttached(out, out.Files); err != nil {
					return err
				}
				return verifiedFiles(out)
			})
		},
	}
}

// attachedRef makes a path that is there absolute; other words are looked up by
// the node.
func attachedRef(args []string) (string, error) {
	if len(args) == 0 {
		return "", nil
	}
	if ref := args[0]; !strings.ContainsRune(ref, '/') && !strings.HasSuffix(ref, ".car") && ref != "." {
		return ref, nil
	}
	return filepath.Abs(args[0])
}

func (a *app) dataDetachCmd() *cobra.Command {
	return &cobra.Command{
		Use: "detach REF", Short: "Stop serving attached files, which stay as they are",
		Long: "Detach forgets the files that REF means: a path (./sectors, with a slash), a directory,\n" +
			"a label, a root, or at least the first 4 characters of an id. Jobs and pins that need\n" +
			"blocks of them fetch these elsewhere, or fail and say so.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := attachedRef(args)
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				out, err := c.Detach(cmd.Context(), ref)
				if err != nil {
					return err
				}
				return a.printAttached(out, out.Files)
			})
		},
	}
}

// verifiedFiles is an error when some of the files are not what they should be.
func verifiedFiles(out wire.Attached) error {
	if err := refusedFiles(out); err != nil {
		return jobspec.KindBlockHash.Errorf("%v", err)
	}
	for _, f := range out.Files {
		if f.State != wire.AttachedOK {
			return jobspec.KindBlockHash.Errorf("%s %s", f.Path, f.Why)
		}
	}
	return nil
}

// checkAttached looks at the files that the node serves in place.
func (a *app) checkAttached(ctx context.Context) (found []finding) {
	c, err := a.client()
	if err != nil {
		return nil // said by checkNode
	}
	defer c.Close()
	list, err := c.Attachments(ctx)
	if err != nil || len(list.Files) == 0 {
		return nil
	}
	fine, bytes := int64(0), int64(0)
	for _, f := range list.Files {
		if f.State == wire.AttachedOK || f.State == wire.AttachedIndexing {
			fine, bytes = fine+1, bytes+f.Size
			continue
		}
		found = append(found, ok("attached", "%s %s", f.Path, f.Why).warn(adviceFor(f.State)))
	}
	if fine > 0 {
		found = append(found, ok("attached", "%s, %s, served in place", count(fine, "CAR file"), size(bytes)))
	}
	return found
}
