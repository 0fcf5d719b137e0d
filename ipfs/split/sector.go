package split

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// sectorSuffix ends the name of a sector.
const sectorSuffix = ".car"

// sectorOf returns the path of the sector that a path lies in, "" for none: up
// to the first name that ends in .car.
func sectorOf(p string) string {
	for end := 0; end < len(p); {
		next := strings.IndexByte(p[end:], '/')
		if next < 0 {
			next = len(p) - end
		}
		if strings.HasSuffix(p[:end+next], sectorSuffix) {
			return p[:end+next]
		}
		end += next + 1
	}
	return ""
}

// bySector makes a group of the files of each sector, or of all files where
// there is none.
func bySector(files []file) (groups [][]piece, err error) {
	var stray []string
	at := map[string]int{} // as a.car-b stands between a.car and what is below it
	for _, f := range files {
		sector := sectorOf(f.path)
		if sector == "" {
			stray = append(stray, f.path)
			continue
		}
		i, ok := at[sector]
		if !ok {
			i = len(groups)
			at[sector] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], whole(f))
	}
	if len(groups) > 0 {
		return groups, strays(len(groups), stray)
	}
	if len(files) > 0 {
		groups = [][]piece{nil}
	}
	for _, f := range files {
		groups[0] = append(groups[0], whole(f))
	}
	return groups, nil
}

// strays refuses an input of which no task would see a part.
func strays(sectors int, paths []string) error {
	if len(paths) == 0 {
		return nil
	}
	return jobspec.Failure{
		Kind:   jobspec.KindUnixFS,
		Detail: fmt.Sprintf("beside %d sectors, which are named *%s, the input has %d other files, which no task would see; the first is %q", sectors, sectorSuffix, len(paths), paths[0]),
		Hint:   "take the directory with the sectors only (-c CID/path), or make a task of each entry: --split entries",
	}.Error()
}

// Sector is a DAG of any codec that is a task of its own.
type Sector struct {
	Path  string // below the root; "" for the root itself
	CID   jobspec.CID
	Bytes int64 // as the link says
}

// Sectors returns what stands below the directory root under names that end in
// .car, in byte order of their paths, or root itself where there is none. What
// is in a sector is not read. The error is of kind E_UNIXFS when there are other
// files beside sectors, or when a sector is a file.
func Sectors(ctx context.Context, g ipfs.Getter, root jobspec.CID, b ipfs.Budget) ([]Sector, error) {
	if root.Cid().Type() != cid.DagProtobuf {
		return []Sector{{CID: root}}, nil
	}
	l := sectorList{g: g, b: b, left: allEntries(b)}
	if err := l.dir(ctx, "", root, 0); err != nil {
		return nil, fmt.Errorf("sectors of %s: %w", root, err)
	}
	switch n := len(l.found); {
	case n == 0:
		return []Sector{{CID: root}}, nil
	case n > jobspec.MaxInto:
		return nil, jobspec.KindLimit.Errorf("the input has %d sectors, at most %d are taken", n, jobspec.MaxInto)
	}
	if err := strays(len(l.found), l.stray); err != nil {
		return nil, fmt.Errorf("sectors of %s: %w", root, err)
	}
	return l.found, nil
}

type sectorList struct {
	g     ipfs.Getter
	b     ipfs.Budget
	left  int64 // entries
	found []Sector
	stray []string
}

func (l *sectorList) dir(ctx context.Context, at string, c jobspec.CID, level int) error {
	kind, err := tree.KindOf(ctx, l.g, c)
	if err != nil {
		return err
	}
	if kind != tree.Dir {
		l.stray = append(l.stray, at)
		return nil
	}
	if level > maxSectorLevels {
		return jobspec.KindDepth.Errorf("%q has over %d levels of directories", at, maxSectorLevels)
	}
	links, err := tree.Links(ctx, l.g, c, l.b)
	if err != nil {
		return err
	}
	if l.left -= int64(len(links)); l.left < 0 {
		return jobspec.KindLimitEntries.Errorf("over %d entries", allEntries(l.b))
	}
	for _, link := range links {
		p := path.Join(at, link.Name)
		switch {
		case strings.HasSuffix(link.Name, sectorSuffix):
			err = l.sector(ctx, p, link)
		case link.CID.Cid().Type() == cid.DagProtobuf:
			err = l.dir(ctx, p, link.CID, level+1)
		default:
			l.stray = append(l.stray, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxSectorLevels is how deep sectors are looked for.
const maxSectorLevels = 64

func allEntries(b ipfs.Budget) int64 {
	if b.Entries > 0 {
		return b.Entries
	}
	return 1_000_000
}

func (l *sectorList) sector(ctx context.Context, p string, link tree.Link) error {
	file := link.CID.Cid().Type() == cid.Raw
	if link.CID.Cid().Type() == cid.DagProtobuf {
		kind, err := tree.KindOf(ctx, l.g, link.CID)
		if err != nil {
			return err
		}
		file = kind == tree.File
	}
	if file {
		return jobspec.Failure{
			Kind: jobspec.KindUnixFS, Detail: fmt.Sprintf("%q is a file, whose content may be a CAR; as: car shows the blocks of a DAG as one", p),
			Hint: "show it as it is, at /inputs/" + p + " (--as files), or serve the CAR in place: ipdc data attach FILE",
		}.Error()
	}
	l.found = append(l.found, Sector{Path: p, CID: link.CID, Bytes: int64(min(link.Tsize, 1<<62))})
	return nil
}
