package docker

// For the tests of rules that have no way in from outside.
var (
	Check    = check
	Problem  = problem
	Warnings = warnings
	Digest   = digest
)

// CountGPUs is countGPUs, FreeGPUs freeGPUs.
var (
	CountGPUs = countGPUs
	FreeGPUs  = freeGPUs
)
