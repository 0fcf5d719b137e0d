package docker

import "time"

// For the tests of rules that have no way in from outside.
var (
	Check     = check
	Problem   = problem
	Warnings  = warnings
	Digest    = digest
	Benchmark = benchmark
)

// CountGPUs is countGPUs, FreeGPUs freeGPUs.
var (
	CountGPUs = countGPUs
	FreeGPUs  = freeGPUs
)

// Hasty returns cfg with short deadlines for calls to the engine, and less patience.
func Hasty(cfg Config, ask, change, round time.Duration) Config {
	cfg.limits = deadlines{ask, change, round, 3}
	return cfg
}

// Hurry is Hasty for an executor that is open, and that nobody uses now.
func (e *Executor) Hurry(ask, change, round time.Duration) {
	e.cfg = Hasty(e.cfg, ask, change, round)
}

// Relax gives it the usual deadlines back.
func (e *Executor) Relax() { e.cfg.limits = usual }
