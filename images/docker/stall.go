package docker

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// attended returns a context that ends once nothing has moved for Config.Stall,
// and what is called when something has. Unpacking goes on without a byte.
func (s *Store) attended(ctx context.Context) (_ context.Context, moved func(), stop func()) {
	ctx, end := context.WithCancelCause(ctx)
	late := time.AfterFunc(s.cfg.Stall, func() {
		end(fmt.Errorf("the container engine took and gave nothing for %s; is it well? docker info", s.cfg.Stall))
	})
	return ctx, func() { late.Reset(s.cfg.Stall) }, func() { late.Stop(); end(nil) }
}

// movingReader tells of each read.
type movingReader struct {
	io.Reader
	moved func()
}

func (r movingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.moved()
	return n, err
}

// engineFull turns an engine's error into a refusal where its disk is full.
func engineFull(err error) error {
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindLimit, Where: "image", Detail: "the disk of the container engine is full: " + err.Error(),
		Hint: "docker system df shows what takes room, docker image prune and ipdc image rm free it; docker info names the directory",
	}.Error()
}
