package sidecar_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
)

// fullBlocks takes no pins.
type fullBlocks struct {
	ipfs.Node
	why error
}

func (f fullBlocks) Pin(context.Context, string, jobspec.CID) error {
	return fmt.Errorf("pin: %w", f.why)
}

// A disk that is full before a job is queued ends it with what to do.
func TestF16FullDiskBeforeTheQueue(t *testing.T) {
	for errno, hint := range map[syscall.Errno]string{syscall.ENOSPC: "free space", syscall.EROFS: "mounted read-write"} {
		t.Run(errno.Error(), func(t *testing.T) {
			b := newBench(t)
			in := b.input("a")
			b.stop()
			b.patience = time.Millisecond
			b.ipfs = fullBlocks{b.ipfs, errno}
			b.start()
			s := spec("DUMMY_COPY=/inputs:/outputs/in")
			s.Inputs = []jobspec.Input{{CID: in}}
			j := b.final(b.submit(s))
			if j.State != jobspec.JobFailed || j.Failure.Kind != jobspec.KindQuota || !strings.Contains(j.Failure.Hint, hint) {
				t.Errorf("job = %s, %+v, want E_QUOTA and the hint %q", j.State, j.Failure, hint)
			}
		})
	}
}
