package attach

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// record is what is known of an attached file, as it stands on disk. Writing it
// is what makes an attachment durable.
type record struct {
	Path     string        `json:"path"` // absolute
	Label    string        `json:"label,omitempty"`
	Identity identity      `json:"identity"` // of the file that was scanned
	SHA256   string        `json:"sha256"`   // of all its bytes
	Version  int           `json:"version"`  // of the CAR
	Base     int64         `json:"base"`     // where its CARv1 begins
	Roots    []jobspec.CID `json:"roots"`
	Sections int64         `json:"sections"`
	Blocks   int64         `json:"blocks"` // different ones
	Shape    shape         `json:"shape"`
	Index    string        `json:"index"` // file name
	Attached time.Time     `json:"attached"`
	Verified time.Time     `json:"verified"` // last scan
	Damage   []wire.Damage `json:"damage,omitempty"`

	// Detached says that the file is not served any more, or is another one
	// now. The record is kept while pins name blocks that only it had, see
	// Set.Lost.
	Detached bool `json:"detached,omitempty"`
}

// shape is what the links of a CAR's blocks say of it.
type shape struct {
	Missing int64       `json:"missing,omitempty"` // links to blocks that are not in the file
	First   jobspec.CID `json:"first,omitzero"`    // of them
	Foreign int64       `json:"foreign,omitempty"` // blocks that no root reaches
	Unknown string      `json:"unknown,omitempty"` // why it was not found out
}

// identity tells a file from what another one, or a change of it, would make
// of its path. The device is left out: its number may change with a restart.
type identity struct {
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // Unix nanoseconds
	Inode uint64 `json:"inode"`
}

func identityOf(st fs.FileInfo) identity {
	id := identity{Size: st.Size(), Mtime: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		id.Inode = sys.Ino
	}
	return id
}

// differs says how b is another file than a, for people; "" = not.
func (a identity) differs(b identity) string {
	switch {
	case a.Size != b.Size:
		return fmt.Sprintf("had %d bytes when it was indexed and has %d", a.Size, b.Size)
	case a.Inode != b.Inode:
		return "was replaced by another file since it was indexed"
	case a.Mtime != b.Mtime:
		return fmt.Sprintf("was written to at %s, after it was indexed", time.Unix(0, b.Mtime).UTC().Format(time.RFC3339))
	}
	return ""
}

// openRegular opens a regular file for reading. It never waits, as a FIFO would
// let it, and does not follow a link at the end of the path.
func openRegular(path string) (*os.File, identity, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, identity{}, jobspec.KindSymlink.Errorf("%s is a symbolic link, name the file that it points at", path)
	}
	if err != nil {
		return nil, identity{}, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = jobspec.KindCARFormat.Errorf("%s is no regular file (%s)", path, st.Mode().Type())
	}
	if err != nil {
		return nil, identity{}, errors.Join(err, f.Close())
	}
	return f, identityOf(st), nil
}

// idOf names the attachment of a path.
func idOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:8])
}

const recordSuffix = ".json"

// name is the record's file. A path has one record, and any number of those that
// are kept for pins.
func (r record) name() string {
	if r.Detached {
		return strings.TrimSuffix(r.Index, indexSuffix) + recordSuffix
	}
	return idOf(r.Path) + recordSuffix
}

// write makes the record durable in dir, in place of an earlier one.
func (r record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, r.name())
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return fmt.Errorf("write record of %s: %w", r.Path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write record of %s: %w", r.Path, err), os.RemoveAll(f.Name()))
	}
	return nil
}

func readRecord(path string) (r record, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && (r.Index == "" || filepath.Base(r.Index) != r.Index || !filepath.IsAbs(r.Path)) {
		err = errors.New("it names no index or no file")
	}
	return r, err
}
