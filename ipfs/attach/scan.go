package attach

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
)

// scanning is how far a file was read.
type scanning struct{ size, done atomic.Int64 }

// maxSections bounds the index of one file to some 10 GB.
const maxSections = 200_000_000

// read scans and indexes a file and makes it durable, in place of what was known
// of its path. One that was indexed and is unchanged is read again only if again
// says so.
func (s *Set) read(ctx context.Context, path, label string, again bool) (*file, error) {
	prog, err := s.begin(path)
	if err != nil {
		return nil, err
	}
	defer s.end(path)
	s.scan.Lock() // one that waits is shown as indexing, with nothing done
	defer s.scan.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	r, id, err := openRegular(path)
	if err != nil {
		return nil, refused(path, err)
	}
	defer r.Close()
	old := s.byPath(path)
	if old != nil && !again {
		if f, ok, err := s.same(old, label, id); ok || err != nil {
			return f, err
		}
	}
	prog.size.Store(id.Size)
	rec := record{Path: path, Label: label, Identity: id, Attached: s.cfg.Now().UTC()}
	if old != nil && label == "" {
		rec.Label = old.record().Label
	}
	f, err := s.index(ctx, r, rec, old, prog)
	if err != nil {
		return nil, refused(path, err)
	}
	s.put(f)
	return f, nil
}

// same takes over what is known of a file that is unchanged.
func (s *Set) same(old *file, label string, id identity) (*file, bool, error) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.rec.Identity.differs(id) != "" || len(old.rec.Damage) > 0 {
		return nil, false, nil
	}
	rec := old.rec
	if label == "" || label == rec.Label {
		return old, true, nil
	}
	rec.Label = label
	if err := rec.write(s.cfg.Dir); err != nil {
		return nil, false, err
	}
	old.rec = rec
	return old, true, nil
}

func (s *Set) begin(path string) (*scanning, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[path] != nil {
		return nil, jobspec.KindConflict.Errorf("%s is being indexed already; see how far it is: ipdc data list", path)
	}
	if n := len(*s.files.Load()) + len(s.busy); n >= maxFiles && s.byPath(path) == nil {
		return nil, jobspec.Failure{
			Kind: jobspec.KindLimit, Detail: fmt.Sprintf("%d files are attached, at most %d are", n, maxFiles),
			Hint: "detach some (ipdc data detach PATH), or join small CARs to larger ones",
		}.Error()
	}
	s.busy[path] = &scanning{}
	return s.busy[path], nil
}

func (s *Set) end(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, path)
}

// index reads the file once, then its nodes along their links. What was known of
// the path is kept for pins.
func (s *Set) index(ctx context.Context, r *os.File, rec record, old *file, prog *scanning) (*file, error) {
	temp, err := os.MkdirTemp(s.cfg.Dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	out, err := os.Create(filepath.Join(temp, "index"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	sorted := newSorter(temp)
	defer sorted.close()
	if err := scanFile(ctx, r, &rec, sorted, prog); err != nil {
		return nil, err
	}
	if rec.Blocks, err = writeIndex(out, sorted); err != nil {
		return nil, err
	}
	x, err := openIndex(out.Name())
	if err != nil {
		return nil, err
	}
	rec.Shape, err = survey(ctx, x, r, rec)
	if err = errors.Join(err, x.close(), unchanged(r, rec)); err != nil {
		return nil, err
	}
	rec.Index = idOf(rec.Path) + strings.TrimPrefix(filepath.Base(temp), ".tmp") + indexSuffix
	rec.Verified = s.cfg.Now().UTC()
	if err := os.Rename(out.Name(), filepath.Join(s.cfg.Dir, rec.Index)); err != nil {
		return nil, err
	}
	if old != nil {
		if err := old.retire(); err != nil {
			return nil, err
		}
	}
	if err := rec.write(s.cfg.Dir); err != nil { // its directory's sync is the index's too
		return nil, err
	}
	return openFile(s.cfg.Dir, rec)
}

// scanFile reads all of a file: its blocks, which it hashes, go to the sorter,
// and its bytes into a checksum.
func scanFile(ctx context.Context, r *os.File, rec *record, to *sorter, prog *scanning) error {
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(&counted{r: r, n: &prog.done}, sum), 1<<20)
	layout, err := car.Scan(ctx, in, func(sec car.Section) error {
		if rec.Sections++; rec.Sections > maxSections {
			return jobspec.KindLimit.Errorf("the CAR has over %d blocks", int64(maxSections))
		}
		if _, ok := dag.Identity(sec.CID); ok {
			return nil // its CID holds it
		}
		h, err := multihash.Decode(sec.CID.Cid().Hash())
		if err != nil {
			return jobspec.KindCIDHash.Errorf("block %s: %v", sec.CID, err)
		}
		return to.add(h, sec.Offset)
	}, nil)
	if err != nil {
		return err
	}
	// What is behind the data, such as an index, is of no use but for the sum.
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	rec.Version, rec.Base, rec.Roots = layout.Version, layout.Base, layout.Roots
	rec.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// unchanged makes sure that the path is still what was read, and was not written
// to meanwhile.
func unchanged(r *os.File, rec record) error {
	st, err := r.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(rec.Path)
	if err != nil {
		return err
	}
	if rec.Identity.differs(identityOf(st)) != "" || rec.Identity.differs(identityOf(now)) != "" {
		return jobspec.Failure{
			Kind: jobspec.KindConflict, Detail: "the file changed while it was read",
			Hint: "attach it again when it is written completely",
		}.Error()
	}
	return nil
}

// refused says which file it is about; what is no refusal yet becomes one, as
// the file is the user's.
func refused(path string, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) && pe.Path == path {
		kind := jobspec.KindInternal
		if errors.Is(err, os.ErrNotExist) {
			kind = jobspec.KindNotFound
		} else if errors.Is(err, os.ErrPermission) {
			kind = jobspec.KindPolicy
		}
		return jobspec.Failure{
			Kind: kind, Detail: fmt.Sprintf("%s: %v", path, pe.Err), Hint: "the node must be able to read the file: check its path, its mode, and the user that the node runs as",
		}.Error()
	}
	f := jobspec.AsFailure(err)
	if !strings.Contains(f.Detail, path) {
		f.Detail = path + ": " + f.Detail
	}
	return f.Error()
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}
