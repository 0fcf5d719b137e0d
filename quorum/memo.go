package quorum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ipdc/ipdc/internal/durable"
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
	if err := durable.Sweep(q.cfg.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.log.Warn("what an earlier process left", "err", err)
	}
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
		err = durable.WriteFile(filepath.Join(q.cfg.Dir, memoFile), b, 0o600)
	}
	return err
}
