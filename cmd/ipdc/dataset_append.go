package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ipdc/ipdc/client"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// appendFlags are the flags of dataset append as they were typed.
type appendFlags struct {
	bytes, list string
	q           wire.DatasetAppend
}

func (a *app) datasetAppendCmd() *cobra.Command {
	f := &appendFlags{}
	cmd := &cobra.Command{
		Use: "append NAME [ENTRY=]CID[/PATH]|PATH...", Short: "Add entries to a dataset, as its next version",
		Long: "Append makes a new version with entries more: files and directories by CID or\n" +
			"CID/path, local ones, which are added first, and .car files, which are imported and\n" +
			"whose root is the entry. An entry is called ENTRY, or as its source. It links what is\n" +
			"there and copies nothing. --list reads many from a file of JSON lines such as\n" +
			"{\"name\":\"a.csv\",\"path\":\"bafy.../a.csv\",\"from\":0,\"to\":1000}.\n\n" +
			"All of it is one version, or none. An entry that is there with other content is\n" +
			"refused without --replace. With --base N the append is refused when another version\n" +
			"than N is the newest. What is there already makes no version.",
		Example: "  ipdc dataset append logs day17.csv\n  ipdc dataset append logs day17.csv=bafy.../17.csv --base 16\n" +
			"  ipdc dataset append heads first.bin=bafy... --bytes 0:1048576\n  ipdc dataset append logs --remove day1.csv",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := jobspec.CheckDatasetName(args[0]); err != nil {
				return err
			}
			if err := f.read(args[1:], a.in); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error { return a.datasetAppend(cmd.Context(), c, args[0], f, args[1:]) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.bytes, "bytes", "", "FROM:TO, the part of the one file that is the entry: from the byte FROM to before the byte TO")
	fs.StringVar(&f.list, "list", "", "file of JSON lines with entries, - for standard input")
	fs.StringArrayVar(&f.q.Remove, "remove", nil, "entry to leave out of the new version (repeatable)")
	fs.BoolVar(&f.q.Replace, "replace", false, "put new content in the place of entries that are there")
	fs.IntVar(&f.q.Base, "base", 0, "the version that must be the newest (default whichever is)")
	return cmd
}

// read checks the flags and reads the list.
func (f *appendFlags) read(sources []string, in io.Reader) error {
	if len(sources) == 0 && f.list == "" && len(f.q.Remove) == 0 {
		return usagef("nothing to append: give CIDs or paths, --list FILE, or --remove ENTRY")
	}
	if f.bytes != "" && len(sources) != 1 {
		return usagef("--bytes is of one file: give one")
	}
	if f.list == "" {
		return nil
	}
	if f.list != "-" {
		file, err := os.Open(f.list)
		if err != nil {
			return usageError{err}
		}
		defer file.Close()
		in = file
	}
	dec := json.NewDecoder(bufio.NewReader(in))
	dec.DisallowUnknownFields()
	for line := 1; ; line++ {
		var e wire.DatasetEntry
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return usagef("--list %s: entry %d: %w", f.list, line, err)
		}
		f.q.Entries = append(f.q.Entries, e)
	}
}

func (a *app) datasetAppend(ctx context.Context, c *client.Client, name string, f *appendFlags, sources []string) error {
	var uploaded []jobspec.CID
	defer func() { a.letGo(ctx, c, uploaded...) }()
	for _, s := range sources {
		e, added, err := a.entry(ctx, c, s)
		uploaded = append(uploaded, added)
		if err != nil {
			return err
		}
		if f.bytes != "" {
			if e.From, e.To, err = byteRange(f.bytes); err != nil {
				return err
			}
		}
		f.q.Entries = append(f.q.Entries, e)
	}
	d, err := c.AppendDataset(ctx, name, f.q)
	if err != nil {
		return err
	}
	return a.printVersion(d)
}

// entry stores a source on the node unless it is there, and returns what it sent,
// or may have sent where it fails.
func (a *app) entry(ctx context.Context, c *client.Client, source string) (e wire.DatasetEntry, sent jobspec.CID, err error) {
	if name, rest, ok := strings.Cut(source, "="); ok {
		if _, err := os.Lstat(source); err != nil { // else = is a part of a file's name
			e.Name, source = name, rest
		}
	}
	if p, err := jobspec.ParsePath(source); err == nil {
		if e.Path = p.String(); e.Name == "" {
			e.Name = path.Base(e.Path)
		}
		return e, sent, nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return e, sent, usagef("%q is neither a CID nor a path that exists here", source)
	}
	if e.Name == "" {
		if e.Name = filepath.Base(source); strings.Trim(e.Name, "./") == "" {
			return e, sent, usagef("%q: say what the entry is called: ENTRY=%s", source, source)
		}
	}
	pins, err := c.Pins(ctx, false)
	if err != nil {
		return e, sent, err
	}
	var root jobspec.CID
	if strings.HasSuffix(source, ".car") && !info.IsDir() {
		var res wire.Imported
		if root, err = carRoot(source); err == nil {
			res, err = a.sendCAR(ctx, c, source, true, "")
		}
		if err == nil {
			root, e.Name = res.Roots[0], strings.TrimSuffix(e.Name, ".car")
		}
	} else {
		var res added
		res, err = a.upload(ctx, source, "")
		root = res.CID
	}
	e.Path = root.String()
	for _, p := range pins { // who pinned it before keeps his pin
		if p.CID == root {
			return e, sent, err
		}
	}
	return e, root, err
}

// byteRange reads FROM:TO.
func byteRange(s string) (from, to int64, err error) {
	first, last, ok := strings.Cut(s, ":")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || errors.Join(err1, err2) != nil || from < 0 || to <= from {
		return 0, 0, usagef("--bytes %q: want FROM:TO with numbers of bytes, FROM below TO", s)
	}
	return from, to, nil
}

// homonym refuses a name that is a local path and a dataset.
func homonym(ctx context.Context, c *client.Client, name string) error {
	ref, err := jobspec.ParseDatasetRef(name)
	if err != nil {
		return err
	}
	d, err := c.Dataset(ctx, ref)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return nil
	}
	if err != nil {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindConflict, Where: "-c " + name, Detail: fmt.Sprintf("there are a dataset %s and a file or folder %s", d.Name, name),
		Hint: fmt.Sprintf("say which: -c dataset:%s or -c ./%s", name, name),
	}.Error()
}
