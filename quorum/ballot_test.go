package quorum

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// failing is a store whose writes fail one after the other, the last for ever.
type failing struct {
	raft.StableStore
	errs []error
}

func (f *failing) SetUint64([]byte, uint64) error {
	err := f.errs[0]
	f.errs = f.errs[min(1, len(f.errs)-1):]
	return err
}

// A keeper that stands still says what to do about it, once for each way in
// which its disk fails.
func TestBallotSaysWhatToDo(t *testing.T) {
	const free, check = "free space on it", "check the disk, then start the node again"
	for name, tt := range map[string]struct {
		errs        []error
		free, check int
	}{
		"full":           {[]error{syscall.ENOSPC, syscall.ENOSPC, nil}, 1, 0},
		"broken":         {[]error{syscall.EIO}, 0, 1},
		"full, then out": {[]error{syscall.ENOSPC, syscall.EIO}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said bytes.Buffer
				b := &ballot{StableStore: &failing{errs: tt.errs}, log: slog.New(slog.NewTextHandler(&said, nil)), done: make(chan struct{})}
				var running sync.WaitGroup
				running.Go(func() { _ = b.SetUint64([]byte(termKey), 1) })
				<-time.After(5 * retryDisk)
				close(b.done)
				running.Wait()
				if f, c := strings.Count(said.String(), free), strings.Count(said.String(), check); f != tt.free || c != tt.check {
					t.Errorf("%d times %q and %d times %q, want %d and %d: %s", f, free, c, check, tt.free, tt.check, &said)
				}
			})
		})
	}
}
