// Package dag holds what every writer and checker of blocks below ipfs must do
// alike: verify a block against its CID, build a directory, and give boxo a
// view of a [ipfs.Session].
//
//	dir := dag.NewDirectory(session)
//	dir.Add("a.txt", dag.Link{CID: leaf, Size: 12})
//	link, err := dir.Write(ctx)             // plain or HAMT, as the profile says
//	svc := dag.Service(session)             // for boxo's importers
//	err = dag.Verify(c, bytes)              // E_CID_HASH, E_BLOCK_HASH
//
// Invariants: the CID of a directory is a function of its entries alone, not
// of the order in which they came; no process-wide setting of boxo is read or
// written, so that another user of boxo in the same process changes no CID.
package dag
