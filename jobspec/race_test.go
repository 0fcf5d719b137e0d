//go:build race

package jobspec_test

import "time"

// slow relaxes a limit of time for the race detector.
func slow(d time.Duration) time.Duration { return 20 * d }
