package stage

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/symlink"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Tar writes the DAG below root to w as a tar stream that is the same on every
// machine: modes 0644 and 0755, owner 0, times at the Unix epoch, entries in
// link order with the symbolic links last (only then it is known where they
// lead). A root that is a file is one entry named by its CID. After an error
// the stream has no end mark.
func Tar(ctx context.Context, g ipfs.Getter, root jobspec.CID, w io.Writer, b ipfs.Budget) error {
	t := tarWriter{tw: tar.NewWriter(w)}
	err := tree.Read(ctx, g, root, b, func(e tree.Entry, c *tree.Content) error {
		return t.visit(ctx, root, e, c)
	})
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		return fmt.Errorf("tar %s: %w", root, err)
	}
	return nil
}

type tarWriter struct {
	tw    *tar.Writer
	links symlink.Tree
	found []tree.Entry // symbolic links
}

func (t *tarWriter) visit(ctx context.Context, root jobspec.CID, e tree.Entry, c *tree.Content) error {
	h := &tar.Header{Name: e.Path, ModTime: time.Unix(0, 0)}
	switch {
	case e.Kind == tree.Symlink && e.Path == "":
		return jobspec.KindSymlink.Errorf("the root is a symbolic link to %.100q", e.Target)
	case e.Kind == tree.Symlink:
		t.found = append(t.found, e)
		return t.links.Add(e.Path, e.Target)
	case e.Kind == tree.Dir && e.Path == "":
		return nil
	case e.Kind == tree.Dir:
		h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, e.Path+"/"
		return t.tw.WriteHeader(h)
	case e.Path == "":
		h.Name = root.String()
	}
	h.Typeflag, h.Mode, h.Size = tar.TypeReg, 0o644, e.Size
	if err := t.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("write %q: %w", e.Path, err)
	}
	_, err := c.Copy(ctx, t.tw)
	return err
}

func (t *tarWriter) finish() error {
	if err := t.links.Check(); err != nil {
		return err
	}
	for _, e := range t.found {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: e.Path, Linkname: e.Target, Mode: 0o777, ModTime: time.Unix(0, 0)}
		if err := t.tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write %q: %w", e.Path, err)
		}
	}
	return t.tw.Close()
}
