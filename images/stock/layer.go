package stock

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// dropped are the paths that a root has only because it was just installed,
// or that differ between builds. A pattern covers everything below its
// matches; "x/*" keeps the directory x itself.
var dropped = []string{
	"dev/*", "proc/*", "sys/*", "run/*", "tmp/*",
	"etc/*-", // passwd- and the like, earlier versions of a file
	"etc/.pwd.lock", "etc/hostname", "etc/resolv.conf", "etc/machine-id",
	"etc/apt", // the host's mirror and proxy; apt itself is not installed
	"etc/dpkg/dpkg.cfg.d/99mmdebstrap",
	"usr/share/doc-base", "usr/share/lintian",
	"usr/share/info/*", "usr/share/locale/*", "usr/share/man/*",
	"var/cache/*", "var/log/*", "var/lib/apt", "var/lib/dbus/machine-id",
	"var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/available",
}

// layer is an image's only layer: the entries of a root's tar in byte order
// of their path elements, without anything that differs between builds.
type layer struct {
	src   io.ReaderAt
	mtime time.Time
	files []file
}

// file is one entry. Content, where it has any, is at offset in the source.
type file struct {
	tar.Header
	offset int64
}

// readLayer indexes the tar src, which must stay open while the layer is used.
// Times become mtime; names of owners, extended attributes, set-id bits and
// device nodes are left out.
func readLayer(ctx context.Context, src io.ReadSeeker, mtime time.Time) (*layer, error) {
	at, ok := src.(io.ReaderAt)
	if !ok {
		return nil, errors.New("the source of a layer cannot be read at an offset")
	}
	l := &layer{src: at, mtime: mtime}
	tr := tar.NewReader(src)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err = errors.Join(err, context.Cause(ctx)); err != nil {
			return nil, err
		}
		// After Next, src stands at the first byte of the content, because
		// tar.Reader reads no further than it must.
		offset, err := src.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		f, keep, err := l.clean(h, offset)
		if err != nil {
			return nil, err
		}
		if keep {
			l.files = append(l.files, f)
		}
	}
	slices.SortFunc(l.files, func(a, b file) int { return comparePaths(a.Name, b.Name) })
	return l, l.relink()
}

// clean returns the entry with fixed fields only, and whether it is wanted.
func (l *layer) clean(h *tar.Header, offset int64) (f file, keep bool, err error) {
	name := path.Clean("/" + h.Name)[1:]
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return file{}, false, nil
	default:
		return file{}, false, fmt.Errorf("%s: entry of type %q", h.Name, h.Typeflag)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return file{}, false, fmt.Errorf("%s: a sparse file", h.Name)
		}
	}
	target := h.Linkname
	if h.Typeflag == tar.TypeLink {
		target = path.Clean("/" + target)[1:]
	}
	f = file{offset: offset, Header: tar.Header{
		Typeflag: h.Typeflag, Name: name, Linkname: target, Size: h.Size,
		Mode: h.Mode & 0o1777, Uid: h.Uid, Gid: h.Gid, ModTime: l.mtime,
	}}
	// A dropped file stays in the index as a possible target of hard links.
	return f, name != "", nil
}

// relink drops what is not wanted and makes the first name of each set of
// hard links the one that has the content.
func (l *layer) relink() error {
	content := make(map[string]file, len(l.files))
	for _, f := range l.files {
		if f.Typeflag == tar.TypeReg {
			content[f.Name] = f
		}
	}
	first := map[string]string{} // name of the content's entry -> first name in order
	l.files = slices.DeleteFunc(l.files, func(f file) bool { return isDropped(f.Name) })
	for i, f := range l.files {
		if f.Typeflag != tar.TypeReg && f.Typeflag != tar.TypeLink {
			continue
		}
		holder := f.Name
		if f.Typeflag == tar.TypeLink {
			holder = f.Linkname
		}
		c, ok := content[holder]
		if !ok {
			return fmt.Errorf("%s: hard link to %s, which is no file", f.Name, holder)
		}
		if name, ok := first[holder]; ok {
			c.Typeflag, c.Linkname, c.Size = tar.TypeLink, name, 0
		} else {
			first[holder] = f.Name
		}
		c.Name = f.Name
		l.files[i] = c
	}
	return nil
}

// writeTo writes the layer as a tar. Each call writes the same bytes.
func (l *layer) writeTo(w io.Writer) error {
	tw := tar.NewWriter(w)
	for _, f := range l.files {
		h := f.Header
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := tw.WriteHeader(&h); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, err := io.Copy(tw, io.NewSectionReader(l.src, f.offset, f.Size)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return tw.Close()
}

// comparePaths orders paths so that a directory stands before its content
// and the content before the directory's next sibling.
func comparePaths(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

func isDropped(name string) bool {
	parts := strings.Split(name, "/")
	for _, pattern := range dropped {
		n := strings.Count(pattern, "/") + 1
		if len(parts) < n {
			continue
		}
		if ok, _ := path.Match(pattern, strings.Join(parts[:n], "/")); ok {
			return true
		}
	}
	return false
}
