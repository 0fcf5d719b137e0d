//go:build !race

package jobspec_test

import "time"

// slow leaves room for a busy machine.
func slow(d time.Duration) time.Duration { return 3 * d }
