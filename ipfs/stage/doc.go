// Package stage writes a UnixFS DAG as files: as a directory tree, or as a tar
// stream. The DAG may be hostile and is read within an [ipfs.Budget].
//
//	stat, err := stage.Dir(ctx, node, root, "/cache/inputs/"+root.String(), stage.Options{Sync: true})
//	slog.Info("staged", "cid", root, "files", stat.Files, "bytes", stat.Bytes)
//	err = stage.Remove("/cache/inputs/" + root.String()) // read-only directories included
//	err = stage.Tar(ctx, node, root, os.Stdout, ipfs.Budget{})
//
// Invariants: nothing is written outside the destination; no link is followed;
// what becomes visible at the destination is whole, and nothing remains after
// an error; the same root gives the same tree on every machine, modes and
// times included; memory does not grow with files or their sizes (only with
// symbolic links, within a limit).
package stage
