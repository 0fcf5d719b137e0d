package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/car"
	"github.com/ipdc/ipdc/jobspec"
)

// CAR writes the DAG below root, of any codec, as a CARv1 to the file dest,
// whose directory is made, both read-only. It returns the bytes of the file,
// which are at most those of the budget; more are E_LIMIT_BYTES, and more than
// its time E_FETCH_TIMEOUT. What an error
// leaves is the caller's to remove.
func CAR(ctx context.Context, g ipfs.Getter, root jobspec.CID, dest string, b ipfs.Budget) (int64, error) {
	if b.Bytes <= 0 {
		b.Bytes = int64(10 * jobspec.GiB)
	}
	dir := filepath.Dir(dest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("stage CAR: %w", err)
	}
	f, err := os.OpenFile(dest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return 0, fmt.Errorf("stage CAR: %w", err)
	}
	if b.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, b.Time, jobspec.KindFetchTimeout.Errorf("the DAG was not read within %s", b.Time))
		defer cancel()
	}
	w := &bounded{w: f, left: b.Bytes, max: b.Bytes}
	_, err = car.WriteOnce(ctx, w, g, root)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	err = errors.Join(err, f.Chmod(0o444), f.Close(), os.Chmod(dir, 0o555))
	return b.Bytes - w.left, err
}

// bounded refuses what is over its limit.
type bounded struct {
	w         io.Writer
	left, max int64
}

func (b *bounded) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, jobspec.KindLimitBytes.Errorf("the CAR has more than %s", jobspec.Bytes(b.max))
	}
	n, err := b.w.Write(p)
	b.left -= int64(n)
	return n, err
}
