package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// file is an attached CAR. What it was found to be is under mu.
type file struct {
	index *index
	dir   string // of the record

	mu  sync.Mutex
	rec record
	bad map[jobspec.CID]bool // blocks that were found damaged
	hit bool                 // Lost said yes since the last collection
}

func openFile(dir string, rec record) (*file, error) {
	x, err := openIndex(dir + string(os.PathSeparator) + rec.Index)
	if err != nil {
		return nil, err
	}
	if x.blocks != rec.Blocks {
		return nil, errors.Join(fmt.Errorf("index of %s has %d blocks, want %d: %w", rec.Path, x.blocks, rec.Blocks, errIndex), x.close())
	}
	f := &file{index: x, dir: dir, rec: rec}
	f.noteBad()
	return f, nil
}

func (f *file) record() record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rec
}

// open returns the file that was scanned, or why it is not there any more.
func (f *file) open() (*os.File, error) {
	rec := f.record()
	r, id, err := openRegular(rec.Path)
	if err == nil {
		if why := rec.Identity.differs(id); why != "" {
			err = errors.Join(changedError{why}, r.Close())
		}
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

type changedError struct{ why string }

func (e changedError) Error() string { return e.why }

// state says whether blocks can be read, and why not.
func (f *file) state() (wire.AttachedState, string) {
	rec := f.record()
	st, err := os.Lstat(rec.Path)
	if err == nil {
		if why := rec.Identity.differs(identityOf(st)); why != "" {
			err = changedError{why}
		}
	}
	var changed changedError
	switch {
	case err == nil && len(rec.Damage) > 0:
		more := ""
		if n := len(rec.Damage) - 1; n > 0 {
			more = fmt.Sprintf(", and %d more", n)
		}
		return wire.AttachedDamaged, fmt.Sprintf("is damaged at byte %d%s: %s", rec.Damage[0].Offset, more, rec.Damage[0].Why)
	case err == nil:
		return wire.AttachedOK, ""
	case errors.Is(err, fs.ErrNotExist):
		return wire.AttachedGone, "is not there any more"
	case errors.As(err, &changed):
		return wire.AttachedChanged, changed.why
	}
	return wire.AttachedUnreadable, "cannot be read: " + err.Error()
}

// noteBad takes the damaged blocks from the record.
func (f *file) noteBad() {
	f.bad = map[jobspec.CID]bool{}
	for _, d := range f.rec.Damage {
		if d.CID.Defined() {
			f.bad[bytesOf(d.CID)] = true
		}
	}
}

// has says whether the block lies in the file and can be read, as far as that is
// known without reading it.
func (f *file) has(c jobspec.CID) bool {
	if !f.knows(c) {
		return false
	}
	f.mu.Lock()
	bad := f.bad[bytesOf(c)]
	f.mu.Unlock()
	state, _ := f.state()
	return !bad && (state == wire.AttachedOK || state == wire.AttachedDamaged)
}

// knows says whether the block lay in the file when it was indexed.
func (f *file) knows(c jobspec.CID) bool {
	_, _, ok, err := f.index.find(c.Cid().Hash())
	return ok && err == nil
}

// get reads and verifies a block. Without it, it returns nil and no error.
func (f *file) get(ctx context.Context, c jobspec.CID) ([]byte, error) {
	offset, _, ok, err := f.index.find(c.Cid().Hash())
	if err != nil || !ok {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rec := f.record()
	offset += rec.Base
	r, err := f.open()
	if err != nil {
		return nil, f.lost(c, offset, err)
	}
	defer r.Close()
	data, err := car.At(r, offset, c)
	if err == nil {
		f.heal(c)
		return data, nil
	}
	if now, serr := r.Stat(); serr == nil && isDamage(err) && rec.Identity.differs(identityOf(now)) == "" {
		f.damaged(c, offset, err)
	}
	return nil, f.lost(c, offset, err)
}

// lost is why a block of the file cannot be had: E_BLOCK_HASH for one that is
// another one now, and in any case E_FETCH_TIMEOUT, so that whoever can fetches
// it elsewhere.
func (f *file) lost(c jobspec.CID, offset int64, err error) error {
	path := f.record().Path
	fail := jobspec.Failure{
		Kind: jobspec.KindFetchTimeout,
		Hint: fmt.Sprintf("put the file back as it was, or index it anew: ipdc data verify %s; to do without it: ipdc data detach %s", path, path),
	}
	why := "cannot be read: " + jobspec.AsFailure(err).Detail
	var changed changedError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "is not there any more"
	case errors.As(err, &changed):
		why = changed.why
	case isDamage(err):
		fail.Kind = jobspec.KindBlockHash
		why = "is damaged there: " + jobspec.AsFailure(err).Detail
	}
	fail.Detail = fmt.Sprintf("block %s lies at byte %d of the attached file %s, which %s", c, offset, path, why)
	return lostError{fail.Error()}
}

func isDamage(err error) bool {
	return errors.Is(err, jobspec.KindBlockHash.Error()) || errors.Is(err, jobspec.KindCARFormat.Error())
}

// lostError is a failure that is also one of kind E_FETCH_TIMEOUT.
type lostError struct{ error }

func (e lostError) Unwrap() []error { return []error{e.error, jobspec.KindFetchTimeout.Error()} }

// maxDamage is how many damaged blocks of a file are listed; of a file with more
// none is served.
const maxDamage = 1000

// damaged notes a block that is not what it was.
func (f *file) damaged(c jobspec.CID, offset int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad[bytesOf(c)] || len(f.rec.Damage) >= maxDamage {
		return
	}
	f.bad[bytesOf(c)] = true
	f.rec.Damage = append(slices.Clip(f.rec.Damage), wire.Damage{CID: c, Offset: offset, Why: jobspec.AsFailure(err).Detail})
	_ = f.rec.write(f.dir) // what cannot be noted is noticed again
}

// heal forgets that a block was damaged: it was read and is what it should be.
func (f *file) heal(c jobspec.CID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.bad[bytesOf(c)] {
		return
	}
	delete(f.bad, bytesOf(c))
	f.rec.Damage = slices.DeleteFunc(slices.Clone(f.rec.Damage), func(d wire.Damage) bool { return d.CID.Defined() && bytesOf(d.CID) == bytesOf(c) })
	_ = f.rec.write(f.dir)
}

// show is the file for people.
func (f *file) show() wire.AttachedFile {
	rec := f.record()
	state, why := f.state()
	return wire.AttachedFile{
		ID: idOf(rec.Path), Path: rec.Path, Label: rec.Label, State: state, Why: why, Roots: rec.Roots,
		Size: rec.Identity.Size, Blocks: rec.Blocks, Version: rec.Version, SHA256: rec.SHA256,
		Whole: rec.Shape.whole(), InPlace: rec.inPlace(), NotWhole: rec.Shape.why(),
		Attached: rec.Attached, Verified: rec.Verified, Damage: rec.Damage,
	}
}

// File opens an attached file that is a CAR of root and of nothing else, and that
// containers may read; nil where there is none, or it is not what was indexed.
// Its bytes are those that were hashed when it was last read as a whole, as far
// as size, time and inode tell.
func (s *Set) File(root jobspec.CID) (*os.File, error) {
	for _, f := range *s.files.Load() {
		rec := f.record()
		if rec.Detached || !rec.inPlace() || rec.Roots[0] != root || len(rec.Damage) > 0 {
			continue
		}
		r, err := f.open()
		if err != nil {
			continue // it is not served either; data list says why
		}
		st, err := r.Stat()
		if err == nil && st.Mode().Perm()&0o004 != 0 {
			return r, nil
		}
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
