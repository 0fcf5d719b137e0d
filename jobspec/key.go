package jobspec

import "slices"

// KeyVersion is part of every key. It is raised when the way in which the node
// itself shapes an output changes, so that older results are not used.
const KeyVersion = 1

// keyRecord is what a key is the CID of: everything the program can see that
// may shape its output, and nothing else. No limit, timeout or name is in it.
type keyRecord struct {
	Version int               `json:"version"`
	Image   ImageID           `json:"image"`
	Arch    string            `json:"arch"`
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
	Code    CID               `json:"code,omitzero"`
	Per     Per               `json:"per"`
	Feed    Feed              `json:"feed,omitempty"`
	Network []string          `json:"network,omitempty"`

	Dependencies CID        `json:"dependencies,omitzero"`
	Expose       []Exposure `json:"expose,omitempty"`

	// Of an item.
	Path string `json:"path,omitempty"`
	File CID    `json:"file,omitzero"`

	// Of a task.
	Inputs As    `json:"inputs,omitempty"`
	Shard  CID   `json:"shard,omitzero"`
	Items  []CID `json:"items,omitempty"` // item keys; a batch is its items
	// KeepGoing is there for tasks of items only: what such a task leaves may
	// lack items that failed, and would be a wrong result without it.
	KeepGoing bool `json:"keep_going,omitempty"`

	// Of a gang's task: all roles, and its own name.
	Gang map[string]int `json:"gang,omitempty"`
	Name string         `json:"name,omitempty"`

	// Of a task whose shard is exposed: what its program is told.
	Root  CID    `json:"root,omitzero"`
	Index int    `json:"index,omitempty"`
	Count int    `json:"count,omitempty"`
	Part  string `json:"part,omitempty"`
}

func newKeyRecord(s Spec, f Facts) keyRecord {
	return keyRecord{
		Version: KeyVersion, Image: f.Image, Arch: f.Arch,
		Command: s.Run.Command, Env: s.Run.Env, Code: s.Run.Code,
		Per: s.Run.Per, Feed: s.Run.Feed, Network: s.Network,
		Dependencies: f.Dependencies, Expose: s.Expose,
	}
}

// itemKey returns the key of one item.
func (k keyRecord) itemKey(it Item) (CID, error) {
	k.Path, k.File = it.Path, it.CID
	return cborCID(k)
}

// taskKey returns the key of a task of p, with its items when it is one of
// items.
func (k keyRecord) taskKey(s Spec, p Plan, t Task) (CID, error) {
	k.Inputs, k.Shard, k.KeepGoing = p.inputsMode(), t.Shard, s.Run.KeepGoing
	for _, it := range t.Items {
		k.Items = append(k.Items, it.Key)
	}
	if s.Gang != nil {
		k.Gang, k.Name = s.Gang.Roles, t.Name
	}
	if s.Exposes(ExposeShard) {
		k.Root, k.Index, k.Count, k.Part = p.Input, t.Index, t.Count, t.Path
	}
	return cborCID(k)
}

// withKeys returns a copy of items with their keys set.
func (k keyRecord) withKeys(items []Item) ([]Item, error) {
	items = slices.Clone(items)
	for i := range items {
		key, err := k.itemKey(items[i])
		if err != nil {
			return nil, err
		}
		items[i].Key = key
	}
	return items, nil
}
