//go:build race

package shuffle_test

const (
	raceFactor = 8 // how much more memory Go's own part may take, and how much less there is to do
	seeds      = 4 // of tests of random pairs
)
