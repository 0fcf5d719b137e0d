// Package store keeps a node's state in one SQLite file: jobs, plans,
// attempts, events, remembered results, tokens.
//
//	st, err := store.Open(ctx, filepath.Join(dir, "state.db"), log)
//	err = st.Update(ctx, func(tx *store.Tx) error {
//		return tx.PutJob(job) // durable when Update returns nil
//	})
//	err = st.View(ctx, func(tx *store.Tx) error { job, err = tx.Job(id); return err })
//
// Invariants: an Update that returned nil survives kill -9 and power loss;
// Updates happen one after the other, each wholly or not at all; a View sees
// one instant; the events of a job are numbered from 1 without gaps; a
// database that is damaged, foreign, newer than this program or in use by
// another process is refused with what to do, never emptied or repaired in
// silence.
package store
