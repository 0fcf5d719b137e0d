package volume_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/volume"
)

func TestWatchdog(t *testing.T) {
	const size, inodes = 1 * jobspec.MiB, 50
	for what, do := range map[string]func(dir string) error{
		"R04 bytes":  func(dir string) error { _, err := fill(dir, 2*int64(size)); return err },
		"R06 inodes": func(dir string) error { _, err := litter(dir, 2*inodes); return err },
		"deep tree": func(dir string) error {
			for range 40 {
				dir = filepath.Join(dir, "d", "d", "d", "d")
			}
			return os.MkdirAll(dir, 0o700)
		},
	} {
		t.Run(what, func(t *testing.T) {
			pool, _ := open(t, volume.MethodWatchdog)
			vol := create(t, pool, size, inodes)
			result := make(chan error, 1)
			go func() { result <- pool.Watch(t.Context(), name) }()
			must(t, do(vol.Outputs))
			if err := <-result; !errors.Is(err, jobspec.KindQuota.Error()) {
				t.Errorf("Watch = %v, want kind E_QUOTA", err)
			}
			wantFull(t, pool, true)
		})
	}
}

func TestWatchdogCountsWhatIsReallyTaken(t *testing.T) {
	pool, _ := open(t, volume.MethodWatchdog)
	vol := create(t, pool, 1*jobspec.MiB, 50)
	file := filepath.Join(vol.Outputs, "a")
	_, err := fill(vol.Outputs, 512<<10)
	must(t, err)
	must(t, os.WriteFile(file, make([]byte, 256<<10), 0o644))
	for i := range 5 { // names of one file
		must(t, os.Link(file, file+string(rune('b'+i))))
	}
	sparse, err := os.Create(filepath.Join(vol.Outputs, "sparse"))
	must(t, err)
	must(t, errors.Join(sparse.Truncate(1<<30), sparse.Close()))
	wantFull(t, pool, false)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	for _, method := range []string{volume.MethodExt4, volume.MethodWatchdog} {
		t.Run(method, func(t *testing.T) {
			pool, _ := open(t, method)
			create(t, pool, 1*jobspec.MiB, 50)
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() { result <- pool.Watch(ctx, name) }()
			cancel()
			must(t, <-result)
		})
	}
}
