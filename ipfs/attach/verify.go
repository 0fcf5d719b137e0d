package attach

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// Verify reads attached files again, all of them without a ref. One that is
// another one now is indexed anew; of one that is unchanged the damaged places
// are listed.
func (s *Set) Verify(ctx context.Context, ref string) (wire.Attached, error) {
	var out wire.Attached
	files := slices.DeleteFunc(slices.Clone(*s.files.Load()), func(f *file) bool { return f.record().Detached })
	if ref != "" {
		if resolved, err := s.resolve(ref); err == nil {
			ref = resolved
		}
		var err error
		if files, err = s.find(ref); err != nil {
			return out, err
		}
	}
	for _, f := range files {
		now, err := s.verify(ctx, f)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if err != nil {
			out.Refused = append(out.Refused, wire.AttachRefusal{Path: f.record().Path, Failure: jobspec.AsFailure(err)})
			now = f
		}
		out.Files = append(out.Files, now.show())
	}
	return out, nil
}

func (s *Set) verify(ctx context.Context, f *file) (*file, error) {
	path := f.record().Path
	r, err := f.open()
	if errors.As(err, new(changedError)) {
		return s.read(ctx, path, "", true)
	}
	if err != nil {
		return nil, refused(path, err)
	}
	defer r.Close()
	prog, err := s.begin(path)
	if err != nil {
		return nil, err
	}
	defer s.end(path)
	s.scan.Lock()
	defer s.scan.Unlock()
	rec := f.record()
	prog.size.Store(rec.Identity.Size)
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(&counted{r: r, n: &prog.done}, sum), 1<<20)
	var damage []wire.Damage
	_, err = car.Scan(ctx, in, func(car.Section) error { return nil }, func(sec car.Section, why error) error {
		if len(damage) < maxDamage {
			damage = append(damage, wire.Damage{CID: sec.CID, Offset: rec.Base + sec.Offset, Why: jobspec.AsFailure(why).Detail})
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var fail *jobspec.FailureError
	switch {
	case errors.As(err, &fail): // from there on nothing is where it was
		damage = append(damage, wire.Damage{Offset: rec.Base, Why: jobspec.AsFailure(err).Detail})
	case err != nil:
		return nil, refused(path, err)
	default:
		if _, err := io.Copy(io.Discard, in); err != nil {
			return nil, refused(path, err)
		}
	}
	if err := unchanged(r, rec); err != nil {
		return nil, refused(path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rec.Damage, f.rec.Verified, f.rec.SHA256 = damage, s.cfg.Now().UTC(), hex.EncodeToString(sum.Sum(nil))
	f.noteBad()
	return f, f.rec.write(s.cfg.Dir)
}
