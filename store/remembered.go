package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// recallChunk bounds the keys of one query, so that its parameter stays below
// 100 KiB.
const recallChunk = 1000

// Remembered is what an item or a task gave. It is forgotten with the record
// of the job that made it, whose pins hold the blocks.
type Remembered struct {
	Job     jobspec.JobID
	Outputs []Output
	Created time.Time
}

// Output is one output of an item, or a task's whole output at Path "".
type Output struct {
	Path string      `json:"path,omitempty"` // below /outputs, slash-separated
	CID  jobspec.CID `json:"cid"`
	Size int64       `json:"size,omitempty"` // bytes of a file; 0 = not known
}

// Remember stores what the item or task of this key gave, in place of what was
// remembered for it before.
func (tx *Tx) Remember(key jobspec.CID, r Remembered) error {
	record, err := encode(r.Outputs)
	if err == nil {
		err = tx.put(rememberedTable, key.String(), string(r.Job), r.Created.UnixNano(), record)
	}
	if err != nil {
		return fmt.Errorf("remember %s: %w", key, err)
	}
	return nil
}

// Recall returns what is remembered for the keys; those without are left out.
// There may be any number of keys.
func (tx *Tx) Recall(keys []jobspec.CID) (map[jobspec.CID]Remembered, error) {
	found := map[jobspec.CID]Remembered{}
	for chunk := range slices.Chunk(keys, recallChunk) {
		if err := tx.recall(chunk, found); err != nil {
			return nil, fmt.Errorf("recall %d keys: %w", len(keys), err)
		}
	}
	return found, nil
}

func (tx *Tx) recall(keys []jobspec.CID, found map[jobspec.CID]Remembered) error {
	list, err := encode(keys)
	if err != nil {
		return err
	}
	var key, job string
	var created int64
	var record []byte
	return tx.each([]any{&key, &job, &created, &record}, func() error {
		c, err := jobspec.ParseCID(key)
		if err != nil {
			return err
		}
		r := Remembered{Job: jobspec.JobID(job), Created: time.Unix(0, created).UTC()}
		err = json.Unmarshal(record, &r.Outputs)
		found[c] = r
		return err
	}, "SELECT key, job, created, record FROM remembered WHERE key IN (SELECT value FROM json_each(?))", list)
}

// Forget drops what was remembered before an instant and returns how many
// entries that were.
func (tx *Tx) Forget(before time.Time) (int64, error) {
	res, err := tx.tx.ExecContext(tx.ctx, "DELETE FROM remembered WHERE created < ?", before.UnixNano())
	if err != nil {
		return 0, fmt.Errorf("forget results before %s: %w", before.UTC().Format(time.RFC3339), err)
	}
	return res.RowsAffected()
}
