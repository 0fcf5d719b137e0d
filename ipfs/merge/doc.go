// Package merge makes one directory DAG out of others by linking what exists:
// it costs O(directory entries) and reads no file's bytes.
//
//	root, err := merge.Union(ctx, session, outputs)  // one tree
//	root, err = merge.Shards(ctx, session, outputs)  // 000/ 001/ ...
//	root, err = merge.Concat(ctx, session, outputs) // one tree, files of one name joined
//	parts, err := merge.Partitions(ctx, session, outputs, 7) // part-0000j of all, for each j
//	root, err = merge.Files(ctx, session, []merge.File{{Path: "a/b.txt", CID: c, Size: 12}})
//	root, err = merge.Wrap(ctx, session, "data", c)
//
// Invariants: the result is a function of its arguments alone; where the
// arguments are as ipfs/pack makes them, the result has the CID that packing
// the whole tree at once would give, the switch to HAMT included; blocks are
// read and written through the session only.
package merge
