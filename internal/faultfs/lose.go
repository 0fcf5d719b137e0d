package faultfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/hanwen/go-fuse/v2/fs"
)

// sector is what a disk writes as a whole or not at all.
const sector = 512

// lose writes what was synced below the root into a directory. rnd, where there
// is one, adds parts of the rest.
func (k *disk) lose(to string, seed uint64) error {
	var rnd *rand.Rand
	if seed != 0 {
		rnd = rand.New(rand.NewPCG(seed, 0))
	}
	return k.root.lose(to, rnd)
}

func (d *dir) lose(to string, rnd *rand.Rand) error {
	names := d.synced
	if rnd != nil {
		names = d.torn(rnd)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		at := filepath.Join(to, name)
		var err error
		switch n := names[name].(type) {
		case *dir:
			if err = os.Mkdir(at, 0o700); err == nil {
				err = n.lose(at, rnd)
			}
		case *file:
			data := n.synced
			if rnd != nil {
				data = n.torn(rnd)
			}
			err = os.WriteFile(at, data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// torn is a mix of the names before and after what was not synced. A file that
// was moved is under one of its names at least, as in any journal.
func (d *dir) torn(rnd *rand.Rand) map[string]fs.InodeEmbedder {
	if rnd.IntN(2) == 0 {
		return d.synced
	}
	return d.now
}

// torn is what was synced with some of the sectors that were written since.
func (f *file) torn(rnd *rand.Rand) []byte {
	data := bytes.Clone(f.synced)
	if len(f.data) < len(data) && rnd.IntN(2) == 0 {
		data = data[:len(f.data)] // truncated
	}
	for _, s := range f.dirty {
		for from := s.from; from < s.to; from += sector - from%sector {
			to := min(from+sector-from%sector, s.to, int64(len(f.data)))
			if rnd.IntN(2) == 0 || from >= to {
				continue
			}
			if to > int64(len(data)) {
				data = append(data, make([]byte, to-int64(len(data)))...)
			}
			copy(data[from:to], f.data[from:to])
		}
	}
	return data
}
