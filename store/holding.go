package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Holding says which other members hold what this node has pinned under a
// name.
type Holding struct {
	Name    string        `json:"-"` // of this node's pin
	Root    jobspec.CID   `json:"root"`
	Bytes   int64         `json:"bytes"`   // of its blocks; 0 = not known
	Want    int           `json:"want"`    // nodes in all, this one included; 0 = all are to let go
	Holders []identity.ID `json:"holders"` // others, in the order in which they took it
}

// Missing is how many more members are to hold it.
func (h Holding) Missing() int { return max(h.Want-1-len(h.Holders), 0) }

// Without returns h without a holder.
func (h Holding) Without(id identity.ID) Holding {
	h.Holders = slices.DeleteFunc(slices.Clone(h.Holders), func(x identity.ID) bool { return x == id })
	return h
}

// PutHolding stores h in place of the one of its name.
func (tx *Tx) PutHolding(h Holding) error {
	record, err := encode(h)
	if err == nil {
		err = tx.put(holdingTable, h.Name, record)
	}
	if err != nil {
		return fmt.Errorf("put holding %s: %w", h.Name, err)
	}
	return nil
}

// Holding returns the holding of a name, or an error of kind E_NOT_FOUND.
func (tx *Tx) Holding(name string) (h Holding, err error) {
	var record []byte
	if err := tx.get([]any{&record}, "holding "+name, "SELECT record FROM holdings WHERE name = ?", name); err != nil {
		return h, fmt.Errorf("get holding: %w", err)
	}
	h.Name = name
	return h, json.Unmarshal(record, &h)
}

// Holdings returns all holdings, by name.
func (tx *Tx) Holdings() (list []Holding, err error) {
	var name string
	var record []byte
	err = tx.each([]any{&name, &record}, func() error {
		h := Holding{Name: name}
		err := json.Unmarshal(record, &h)
		list = append(list, h)
		return err
	}, "SELECT name, record FROM holdings ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("list holdings: %w", err)
	}
	return list, nil
}

// DeleteHolding removes the holding of a name; without one it does nothing.
func (tx *Tx) DeleteHolding(name string) error {
	if err := tx.exec("DELETE FROM holdings WHERE name = ?", name); err != nil {
		return fmt.Errorf("delete holding %s: %w", name, err)
	}
	return nil
}
