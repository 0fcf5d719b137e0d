package attach

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/internal/rmtree"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Config says where a Set keeps what it knows.
type Config struct {
	Dir    string           // records and indexes; made with mode 0700, holds nothing else
	Node   string           // the node's own directory: nothing below it is attached; "" = none
	Logger *slog.Logger     // default: no log
	Now    func() time.Time // default time.Now
}

// Set is the attached files of a node. Its methods may be called concurrently.
type Set struct {
	cfg Config
	log *slog.Logger

	files atomic.Pointer[[]*file] // replaced as a whole under mu; detached ones too
	mu    sync.Mutex
	scan  sync.Mutex           // one file is read at a time: a disk gives no more to two
	busy  map[string]*scanning // under mu, by path
}

// maxFiles bounds how many files are attached: each has an open index.
const maxFiles = 4096

// Files in Config.Dir that no record names are of a process that was killed.
const (
	tempPrefix  = ".tmp-"
	indexSuffix = ".index"
)

// Open opens what earlier processes have attached, whatever has become of the
// files since, and removes what they left half-done.
func Open(ctx context.Context, cfg Config) (*Set, error) {
	s := &Set{cfg: cfg, log: cfg.Logger, busy: map[string]*scanning{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	s.files.Store(&[]*file{})
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open attached files: %w", err)
	}
	if err := s.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open attached files: %w", err), s.Close())
	}
	return s, nil
}

func (s *Set) load(ctx context.Context) error {
	names, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	// A path's record before those that are kept for pins, whose names are longer.
	slices.SortStableFunc(names, func(a, b os.DirEntry) int { return len(a.Name()) - len(b.Name()) })
	used, served := map[string]bool{}, map[string]bool{} // indexes
	var files []*file
	for _, d := range names {
		if !strings.HasSuffix(d.Name(), recordSuffix) || ctx.Err() != nil {
			continue
		}
		rec, err := readRecord(filepath.Join(s.cfg.Dir, d.Name()))
		var f *file
		if err == nil && rec.Detached && served[rec.Index] {
			continue // of a process that was killed while it detached
		}
		if err == nil {
			used[d.Name()], used[rec.Index] = true, true
			served[rec.Index] = !rec.Detached
			f, err = openFile(s.cfg.Dir, rec)
		}
		if err != nil {
			s.log.Error("attached file is not served: its record or index cannot be read; attach it again", "record", d.Name(), "path", rec.Path, "err", err)
			used[d.Name()] = true // for whoever looks into it
			continue
		}
		files = append(files, f)
	}
	s.files.Store(&files)
	for _, d := range names {
		if !used[d.Name()] && ctx.Err() == nil {
			s.log.Debug("remove what a killed process left", "name", d.Name())
			if err := rmtree.Remove(filepath.Join(s.cfg.Dir, d.Name())); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// Close closes the indexes. Closing twice is safe.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, f := range *s.files.Swap(&[]*file{}) {
		errs = append(errs, f.index.close())
	}
	return errors.Join(errs...)
}

// Get returns a block that lies in an attached file, verified just now. Where no
// file has it, it returns nil and no error. The error of one that cannot be read
// matches E_FETCH_TIMEOUT, and names file, byte, CID and what to do.
func (s *Set) Get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	if dag.CheckCID(c) != nil {
		return nil, nil
	}
	var first error
	for _, f := range *s.files.Load() {
		if f.record().Detached {
			continue
		}
		data, err := f.get(ctx, c)
		if data != nil && err == nil {
			return data, nil
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		s.log.Warn("block of an attached file cannot be read", "cid", c, "err", first)
	}
	return nil, first
}

// Has says whether a block can be read from an attached file. It looks at the
// file, and reads nothing of it.
func (s *Set) Has(c jobspec.CID) bool {
	if dag.CheckCID(c) != nil {
		return false
	}
	return slices.ContainsFunc(*s.files.Load(), func(f *file) bool { return !f.record().Detached && f.has(c) })
}

// Empty says whether nothing is attached.
func (s *Set) Empty() bool {
	return !slices.ContainsFunc(*s.files.Load(), func(f *file) bool { return !f.record().Detached })
}

// Lost says whether a block lies, or lay, in a file that is or was attached. A
// collection of garbage passes over such a block when it is missing: what is
// below it lay there too.
func (s *Set) Lost(c jobspec.CID) bool {
	if dag.CheckCID(c) != nil {
		return false
	}
	var past []*file
	for _, f := range *s.files.Load() {
		switch {
		case !f.knows(c):
		case f.record().Detached:
			past = append(past, f)
		default:
			return true
		}
	}
	for _, f := range past {
		f.mu.Lock()
		f.hit = true
		f.mu.Unlock()
	}
	return len(past) > 0
}

// Collected is told that a collection has looked at all pins: detached files of
// which no pin wanted a block are forgotten.
func (s *Set) Collected() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keep []*file
	for _, f := range *s.files.Load() {
		f.mu.Lock()
		forget := f.rec.Detached && !f.hit
		f.hit = false
		f.mu.Unlock()
		if !forget {
			keep = append(keep, f)
			continue
		}
		rec := f.record()
		// Its index is closed with its last reader, by the garbage collector.
		if err := errors.Join(os.Remove(filepath.Join(s.cfg.Dir, rec.name())), os.Remove(filepath.Join(s.cfg.Dir, rec.Index))); err != nil {
			s.log.Warn("forget detached file", "path", rec.Path, "err", err)
		}
	}
	s.files.Store(&keep)
}

// put enters a file.
func (s *Set) put(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append(slices.Clone(*s.files.Load()), f)
	s.files.Store(&list)
}

// byPath returns the attached file of a path.
func (s *Set) byPath(path string) *file {
	for _, f := range *s.files.Load() {
		if rec := f.record(); rec.Path == path && !rec.Detached {
			return f
		}
	}
	return nil
}

// List returns all attached files by path, those that are being read included.
func (s *Set) List() []wire.AttachedFile {
	by := map[string]wire.AttachedFile{}
	for _, f := range *s.files.Load() {
		if !f.record().Detached {
			by[f.record().Path] = f.show()
		}
	}
	s.mu.Lock()
	for path, b := range s.busy {
		show := by[path]
		show.ID, show.Path, show.State, show.Why = idOf(path), path, wire.AttachedIndexing, ""
		show.Size, show.Done = b.size.Load(), b.done.Load()
		by[path] = show
	}
	s.mu.Unlock()
	list := make([]wire.AttachedFile, 0, len(by))
	for _, f := range by {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b wire.AttachedFile) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// find returns the files that ref means: by path, directory, label, root, or the
// beginning of an id of at least 4 characters.
func (s *Set) find(ref string) ([]*file, error) {
	var found []*file
	root, _ := jobspec.ParseCID(ref)
	clean := filepath.Clean(ref)
	for _, f := range *s.files.Load() {
		rec := f.record()
		if rec.Detached {
			continue
		}
		if rec.Path == clean || strings.HasPrefix(rec.Path, clean+"/") && filepath.IsAbs(clean) || rec.Label != "" && rec.Label == ref ||
			root.Defined() && slices.Contains(rec.Roots, root) || len(ref) >= 4 && strings.HasPrefix(idOf(rec.Path), ref) {
			found = append(found, f)
		}
	}
	if len(found) == 0 {
		return nil, jobspec.Failure{
			Kind: jobspec.KindNotFound, Detail: fmt.Sprintf("nothing attached is meant by %.200q: a path (./sectors, with a slash), a directory, a label, a root or at least the first 4 characters of an id", ref),
			Hint: "see what is attached: ipdc data list",
		}.Error()
	}
	return found, nil
}

// bytesOf names a block by its bytes, whatever its codec.
func bytesOf(c jobspec.CID) jobspec.CID {
	return jobspec.WrapCID(cid.NewCidV1(cid.Raw, c.Cid().Hash()))
}
