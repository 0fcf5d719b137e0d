package dataset

import "context"

// Sweep is one look for what no row knows.
func (k *Keeper) Sweep(ctx context.Context) error { return k.sweep(ctx) }
