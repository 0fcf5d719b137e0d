// Package tree reads UnixFS DAGs that may be hostile, within an [ipfs.Budget].
//
//	file, err := tree.Resolve(ctx, node, root, []string{"a", "b.txt"})
//	n, err := tree.Copy(ctx, node, file, w, ipfs.Budget{Bytes: 1 << 20})
//	err = tree.Walk(ctx, node, root, ipfs.Budget{}, func(e tree.Entry) error {
//		fmt.Println(e.Path, e.Size)
//		return nil
//	})
//
// Invariants: memory and work are bounded by the budget, never by what a block
// declares; every name given out has passed [CheckName] and stands once in its
// directory; a file's declared sizes are its real sizes, so that all readers
// see the same bytes; dag-pb link sizes are believed nowhere. Blocks are asked
// for in exact depth-first link order, each as often as the DAG links to it,
// so that a streamed CAR (order=dfs, dups=y) can be the Getter of [Read].
package tree
