package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const memoFile = "keepers.json"

// memo is what a node remembers of the record beside its copy.
type memo struct {
	Record  string `json:"record"`            // its id, hex
	Forming bool   `json:"forming,omitempty"` // made here, and not begun yet
	view
}

// read and write keep the memo.
func (q *Quorum) read() error {
	b, err := os.ReadFile(filepath.Join(q.cfg.Dir, memoFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &q.file)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(q.cfg.Dir, memoFile), err)
	}
	q.is = q.file.view
	q.is.Leader = ""
	return nil
}

// write is called with the lock held.
func (q *Quorum) write() error {
	q.file.view = q.is
	b, err := json.Marshal(q.file)
	if err == nil {
		err = os.MkdirAll(q.cfg.Dir, 0o700)
	}
	if err == nil {
		err = replace(filepath.Join(q.cfg.Dir, memoFile), b)
	}
	return err
}

// replace writes a file as a whole, durably.
func replace(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
