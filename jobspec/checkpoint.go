package jobspec

import (
	"cmp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Checkpoint is what a task of a gang left in /outputs/checkpoints/NAME.
type Checkpoint struct {
	Name       string    `json:"name"`       // of its directory
	Task       string    `json:"task"`       // "worker-0"
	Stage      int       `json:"stage"`      // of the spec's stages
	Generation int       `json:"generation"` // of the gang
	CID        CID       `json:"cid"`        // of what the directory holds
	Bytes      Bytes     `json:"bytes"`      // of file content
	Taken      time.Time `json:"taken"`      // packed
}

// After reports whether c is to replace old: it is of a later stage or
// generation, or was packed later in the same one. A nil old is replaced by all.
func (c Checkpoint) After(old *Checkpoint) bool {
	return old == nil || cmp.Or(c.Stage-old.Stage, c.Generation-old.Generation, c.Taken.Compare(old.Taken)) > 0
}

// MaxCheckpointName bounds the name of a checkpoint, in bytes.
const MaxCheckpointName = 200

// ValidCheckpointName reports whether a directory of this name is a checkpoint:
// those whose names begin with a dot are not finished.
func ValidCheckpointName(s string) bool {
	return s != "" && len(s) <= MaxCheckpointName && s[0] != '.' && utf8.ValidString(s) &&
		!strings.ContainsRune(s, '/') && strings.IndexFunc(s, unicode.IsControl) < 0
}
