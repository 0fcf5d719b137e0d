// Package attach serves the blocks of CAR files where they lie, without a copy:
// a storage provider's sectors become part of what a node has stored.
//
//	set, err := attach.Open(ctx, attach.Config{Dir: dir})
//	node, err := embedded.Open(ctx, embedded.Config{Dir: ipfs, Beside: set})
//	got, err := set.Attach(ctx, node, "/data/sector.car", "") // read once, indexed
//	data, err := node.Get(ctx, got.Root)                      // from the file, verified
//	err = set.Detach(ctx, node, "/data/sector.car")
//
// Invariants: no block leaves this package that was not read from the file and
// hashed just then; a file is never written to, renamed or locked; an index is
// built here from one scan that hashes every block, and is never taken from the
// file; a file whose size, time of change or inode is another one than at the
// scan has no blocks until it was scanned again; memory is bounded by the number
// of blocks divided by 8, whatever a file claims; a process that is killed leaves
// either the whole of an attachment or none of it.
package attach
