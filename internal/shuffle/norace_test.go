//go:build !race

package shuffle_test

const (
	raceFactor = 1  // how much more memory Go's own part may take, and how much less there is to do
	seeds      = 16 // of tests of random pairs
)
