package room

import "time"

// Rested makes the last collection one of two minutes ago.
func Rested(k *Keeper) { k.last = time.Now().Add(-2 * time.Minute) }
