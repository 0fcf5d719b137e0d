//go:build !race

package shuffle_test

// raceFactor is how much more memory Go's own part may take.
const raceFactor = 1
