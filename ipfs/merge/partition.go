package merge

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/internal/dag"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// Part is one partition of what several tasks gave.
type Part struct {
	CID   jobspec.CID // a directory with the one entry PartName
	Bytes int64       // about: of the links' own sizes, which count inner nodes too
}

// PartName is the name of partition n: "part-00000".
func PartName(n int) string { return fmt.Sprintf("part-%05d", n) }

// maxParts bounds parts of all roots together: each takes 100 bytes of memory
// here, and an entry of a directory.
const maxParts = 4_000_000

// Partitions turns directories of up to k entries PartName(0) to PartName(k-1),
// one directory for each task, into k directories {PartName(j): {"00000000":
// part j of the first root, "00000001": of the second one, ...}}. A part that
// a root lacks is left out, and the inner directory is empty where all lack it.
// Another name in a root is an error of kind E_OUTPUT_TYPE that names index and
// entry.
func Partitions(ctx context.Context, s ipfs.Session, roots []jobspec.CID, k int) ([]Part, error) {
	parts := make([]*dag.Directory, k)
	for j := range parts {
		parts[j] = dag.NewDirectory(s)
	}
	sizes, total := make([]int64, k), 0
	for i, root := range roots {
		links, err := tree.Links(ctx, s, root, joined)
		if err != nil {
			return nil, fmt.Errorf("partitions of task %d: %w", i, err)
		}
		if total += len(links); total > maxParts {
			return nil, jobspec.KindLimit.Errorf("%d tasks leave over %d parts: ask for fewer partitions, or for larger shards", len(roots), maxParts)
		}
		name := fmt.Sprintf("%08d", i)
		for _, l := range links {
			j, ok := partNumber(l.Name)
			if !ok || j >= k {
				return nil, oddPart(i, l.Name, k)
			}
			parts[j].Add(name, dag.Link{CID: l.CID, Size: l.Tsize})
			sizes[j] = int64(min(uint64(sizes[j])+min(l.Tsize, 1<<50), math.MaxInt64))
		}
	}
	out := make([]Part, k)
	for j, dir := range parts {
		l, err := dir.Write(ctx)
		if err == nil {
			outer := dag.NewDirectory(s)
			outer.Add(PartName(j), l)
			l, err = outer.Write(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", j, err)
		}
		out[j] = Part{CID: l.CID, Bytes: sizes[j]}
	}
	return out, nil
}

// partNumber reads a name as PartName writes it.
func partNumber(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "part-")
	n, err := strconv.ParseUint(digits, 10, 31)
	return int(n), ok && err == nil && PartName(int(n)) == name
}

func oddPart(task int, name string, k int) error {
	return jobspec.Failure{
		Kind: jobspec.KindOutputType, Where: fmt.Sprintf("task %d", task),
		Detail: fmt.Sprintf("left %.256q in /outputs, where only parts of its %d partitions may be", name, k),
		Hint:   fmt.Sprintf("name them %s to %s, files or directories, and put nothing beside them", PartName(0), PartName(k-1)),
	}.Error()
}
