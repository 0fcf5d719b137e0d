package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Dataset describes a dataset and its newest version.
type Dataset struct {
	Name  string `json:"name"`
	Owner string `json:"owner"`          // peer id of the node whose dataset it is
	Mine  bool   `json:"mine"`           // it is this node's
	Keep  int    `json:"keep,omitempty"` // versions whose content is kept; 0 = all
	DatasetVersion
	// Versions are the last ones, newest first, where one dataset is shown and it
	// is this node's.
	Versions []DatasetVersion `json:"versions,omitempty"`
}

// DatasetVersion is what a signed head says.
type DatasetVersion struct {
	Version  int         `json:"version"`
	Root     jobspec.CID `json:"root"` // directory of the entries
	Head     jobspec.CID `json:"head"` // of the signed head
	Time     time.Time   `json:"time"`
	Entries  int         `json:"entries"`
	Added    int         `json:"added"`
	Replaced int         `json:"replaced"`
	Removed  int         `json:"removed"`
	Kept     bool        `json:"kept"` // its content is pinned here
}

// DatasetList is an answer.
type DatasetList struct {
	Datasets []Dataset `json:"datasets"`
}

// DatasetWish asks for a new dataset.
type DatasetWish struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"` // CID or path of a directory that is its first version; default empty
	Keep int    `json:"keep,omitempty"` // versions whose content is kept; 0 = all
}

// DatasetAppend asks for a new version.
type DatasetAppend struct {
	Entries []DatasetEntry `json:"entries,omitempty"`
	Remove  []string       `json:"remove,omitempty"`  // names of entries
	Replace bool           `json:"replace,omitempty"` // entries may be there already
	Base    int            `json:"base,omitempty"`    // the version that is the newest; 0 = whichever
}

// DatasetEntry is an entry that is to be added.
type DatasetEntry struct {
	Name string `json:"name"`
	Path string `json:"path"` // CID or path of a file or directory
	// From and To say that the entry is a part of the file: from the byte From to
	// before the byte To. 0 and 0 = all of it.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
}

// DatasetDiff is what differs between two versions.
type DatasetDiff struct {
	Name    string          `json:"name"`
	From    int             `json:"from"`
	To      int             `json:"to"`
	Changes []DatasetChange `json:"changes"`
}

// DatasetChange is an entry that differs.
type DatasetChange struct {
	Name string      `json:"name"`
	Old  jobspec.CID `json:"old,omitzero"` // none: it was added
	New  jobspec.CID `json:"new,omitzero"` // none: it was removed
}

// DatasetAsk asks a member for a head of a dataset of its own user.
type DatasetAsk struct {
	Name    string `json:"name"`    // "" = the newest heads of all
	Version int    `json:"version"` // 0 = the newest
	After   string `json:"after"`   // with no name: of names behind this one
}

// DatasetHeads answers with sealed heads; none = there is no such dataset.
type DatasetHeads struct {
	Heads [][]byte `json:"heads"`
}
