// Package split makes shards of a dataset: directories of their own that link
// to what exists. It costs O(files and blocks listed) and copies no more than
// the one leaf at each border that lies inside a file.
//
//	shards, err := split.Split(ctx, session, root, split.Options{By: jobspec.SplitLines, Size: 64 << 20})
//	for _, s := range shards {
//		run(s.CID) // a directory with some of the files, or with a piece of one, at their paths
//	}
//
// Invariants: the shards are a function of root and options alone, never of
// the number of nodes; each file, or each byte of it when files are cut, is in
// exactly one shard; a file is cut behind a line end only, or between records of
// one length; shards come in the order of the paths and of the bytes in them,
// so that concatenated outputs are in the order of the input. A file that is added or removed moves borders
// in its neighbourhood only: the other shards keep their CIDs, and what was
// computed from them is remembered.
//
// Symbolic links are in no shard: what they point at may be in another one.
package split
