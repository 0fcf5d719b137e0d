package stage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/ipdc/ipdc/jobspec"
)

// place is a destination and the temporary directory that will move there.
type place struct {
	dest   string
	temp   string
	exists bool // dest is a directory already; temp is in it
	o      Options
}

// openPlace makes the temporary directory. It is on dest's file system, so that
// a rename suffices: inside dest when that is a directory (it may be a mount
// point, or somebody's working directory), else beside it.
func openPlace(dest string, o Options) (*place, error) {
	p := &place{dest: dest, o: o}
	fi, err := os.Lstat(dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case fi.IsDir():
		p.exists = true
		if err := p.checkEmpty(); err != nil {
			return nil, err
		}
	case !o.Overwrite:
		return nil, taken(dest, "exists")
	}
	parent := filepath.Dir(dest)
	if p.exists {
		parent = dest
	}
	p.temp, err = os.MkdirTemp(parent, ".ipdc-stage-*")
	return p, err
}

func (p *place) checkEmpty() error {
	if p.o.Overwrite {
		return nil
	}
	entries, err := os.ReadDir(p.dest)
	if err == nil && len(entries) > 0 {
		err = taken(p.dest, fmt.Sprintf("is a directory with %d entries", len(entries)))
	}
	return err
}

func taken(dest, what string) error {
	return jobspec.Failure{
		Kind:   jobspec.KindConflict,
		Detail: fmt.Sprintf("%s %s", dest, what),
		Hint:   "name another destination, or allow to overwrite",
	}.Error()
}

// commit moves the tree, or the lone file, to its destination.
func (p *place) commit(file bool) error {
	var err error
	switch {
	case file && p.exists:
		return taken(p.dest, "is a directory, and a file was to be written there")
	case file:
		err = os.Rename(filepath.Join(p.temp, loneFile), p.dest)
	case p.exists:
		err = p.join()
	default:
		if _, err := os.Lstat(p.dest); err == nil {
			return taken(p.dest, "is a file, and a directory was to be written there")
		}
		if err = os.Rename(p.temp, p.dest); errors.Is(err, fs.ErrExist) {
			return taken(p.dest, "was made by somebody else meanwhile")
		}
	}
	if err == nil && p.o.Sync {
		err = syncName(p.dest)
	}
	return err
}

// syncName makes it durable that path exists.
func syncName(path string) error {
	f, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// close removes the temporary directory, unless it has become dest.
func (p *place) close() error { return Remove(p.temp) }

// join moves the entries of temp into dest. All clashes are found before the
// first move; when a move fails then, what came new is taken away again.
func (p *place) join() (err error) {
	root, err := os.OpenRoot(p.dest)
	if err != nil {
		return err
	}
	defer root.Close()
	j := joiner{root: root, temp: filepath.Base(p.temp), overwrite: p.o.Overwrite}
	if err := j.walk(j.check); err != nil {
		return err
	}
	if err := j.walk(j.move); err != nil {
		for _, name := range j.placed {
			err = errors.Join(err, root.RemoveAll(name))
		}
		return err
	}
	return nil
}

// joiner moves entries from the directory temp below root to root.
type joiner struct {
	root      *os.Root
	temp      string
	overwrite bool
	placed    []string
}

// walk calls f for each entry whose place is not simply a directory already.
func (j *joiner) walk(f func(name string, old, new fs.FileInfo) error) error {
	for dirs := []string{"."}; len(dirs) > 0; {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		from := path.Join(j.temp, dir)
		// Its entries will leave it, so its owner must be able to write to it.
		if err := j.root.Chmod(from, 0o700); err != nil {
			return err
		}
		entries, err := fs.ReadDir(j.root.FS(), from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			joined, err := j.entry(name, e, f)
			if err != nil {
				return err
			}
			if joined {
				dirs = append(dirs, name)
			}
		}
	}
	return nil
}

// entry calls f unless both the entry and its place are directories.
func (j *joiner) entry(name string, e fs.DirEntry, f func(name string, old, new fs.FileInfo) error) (joined bool, err error) {
	new, err := e.Info()
	if err != nil {
		return false, err
	}
	old, err := j.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, f(name, nil, new)
	case err != nil:
		return false, err
	case old.IsDir() && new.IsDir():
		return true, nil
	}
	return false, f(name, old, new)
}

func (j *joiner) check(name string, old, new fs.FileInfo) error {
	if old != nil && (!j.overwrite || old.IsDir() || new.IsDir()) {
		return taken(name, fmt.Sprintf("is there as %s, and %s was to be written", old.Mode(), new.Mode()))
	}
	return nil
}

func (j *joiner) move(name string, old, new fs.FileInfo) error {
	if old == nil {
		j.placed = append(j.placed, name)
	}
	from := path.Join(j.temp, name)
	if !new.IsDir() || new.Mode()&0o200 != 0 {
		return j.root.Rename(from, name)
	}
	// A directory changes its parent only while its owner may write to it.
	if err := j.root.Chmod(from, 0o700); err != nil {
		return err
	}
	if err := j.root.Rename(from, name); err != nil {
		return err
	}
	return j.root.Chmod(name, new.Mode())
}
