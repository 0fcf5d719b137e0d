package wire

import (
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// Attach asks a node to serve a CAR file, or all below a directory, in place.
type Attach struct {
	Path  string `json:"path" doc:"of a CAR file or a directory on the node's machine, absolute"`
	Label string `json:"label,omitempty" doc:"for people, and a reference to what was attached"`
}

// AttachedRef names attached files.
type AttachedRef struct {
	Ref string `json:"ref" doc:"a path, a directory that files lie below, a label, a root CID, or at least the first 4 characters of an id"`
}

// VerifyAttached asks for attached files to be read again.
type VerifyAttached struct {
	Ref string `json:"ref,omitempty" doc:"as for detaching; without it all attached files are read"`
}

// Attached is what was attached.
type Attached struct {
	Root    jobspec.CID     `json:"root,omitzero" doc:"of the file, or a directory of the roots of all files below the directory"`
	Files   []AttachedFile  `json:"files"`
	Refused []AttachRefusal `json:"refused,omitempty" doc:"files that could not be attached"`
}

// AttachRefusal is a file that could not be attached.
type AttachRefusal struct {
	Path    string          `json:"path"`
	Failure jobspec.Failure `json:"failure"`
}

// AttachedList is what a node has attached.
type AttachedList struct {
	Files []AttachedFile `json:"files"`
}

// AttachedState is whether the blocks of an attached file can be read.
type AttachedState string

// The states of an attached file.
const (
	AttachedIndexing   AttachedState = "indexing"   // it is being read for the first time, or again
	AttachedOK         AttachedState = "ok"         //
	AttachedChanged    AttachedState = "changed"    // another file, or another content, than was indexed
	AttachedGone       AttachedState = "gone"       // there is no such file
	AttachedUnreadable AttachedState = "unreadable" // the node may not, or cannot, open it
	AttachedDamaged    AttachedState = "damaged"    // some blocks are not what they were
)

// AttachedFile is a CAR file that is served in place.
type AttachedFile struct {
	ID       string        `json:"id"`
	Path     string        `json:"path"`
	Label    string        `json:"label,omitempty"`
	State    AttachedState `json:"state"`
	Why      string        `json:"why,omitempty" doc:"of a state other than ok"`
	Roots    []jobspec.CID `json:"roots,omitempty"`
	Size     int64         `json:"size" doc:"bytes of the file"`
	Done     int64         `json:"done,omitempty" doc:"bytes that were read so far, of one that is indexing"`
	Blocks   int64         `json:"blocks" doc:"different ones"`
	Version  int           `json:"version,omitempty" doc:"of the CAR, 1 or 2"`
	SHA256   string        `json:"sha256,omitempty" doc:"of the file, in hex"`
	Whole    bool          `json:"whole" doc:"every block that its roots reach is in the file"`
	InPlace  bool          `json:"in_place" doc:"as: car mounts the file itself"`
	NotWhole string        `json:"not_whole,omitempty" doc:"why it is not whole, or not mounted itself"`
	Attached time.Time     `json:"attached,omitzero"`
	Verified time.Time     `json:"verified,omitzero" doc:"when all of it was read and hashed last"`
	Damage   []Damage      `json:"damage,omitempty"`
}

// Damage is a block that is not what it was when its file was indexed.
type Damage struct {
	CID    jobspec.CID `json:"cid"`
	Offset int64       `json:"offset" doc:"byte of the file at which its section begins"`
	Why    string      `json:"why"`
}
