package attach

import "time"

// Clock returns a clock that calls do each time.
func Clock(do func()) func() time.Time {
	return func() time.Time {
		do()
		return time.Now()
	}
}
