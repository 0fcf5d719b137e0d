package domain

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Files is what a node keeps of its domain, in its state directory:
//
//	domain.id                 the domain that the node is in
//	domains/<id>/membership   secret, list, certificate: see [Membership]
//	domains/<id>/admin.key    only where the domain was created
//	domains/<id>/invites      codes that may be used or were, as hashes
//
// Every change is one file that is replaced as a whole and durable before the
// method returns, so that a crash leaves the old or the new. A lock makes
// changes by several processes, a node and a command, wait for each other.
// Directories are named by the id, which is a hash: no name reaches a path.
type Files struct {
	Dir string       // the node's state directory; it exists
	Log *slog.Logger // hears what Born could not remove; nil = nobody

	step func(name string) error // called between any two steps; nil = failpoints
}

const (
	pointerFile    = "domain.id"
	membershipFile = "membership"
	adminFile      = "admin.key"
	newPrefix      = ".new-"
)

// ErrNone says that the node was never born: it has no domain and never had.
var ErrNone = errors.New("this node is in no domain yet; it gets one of its own at its first start")

// Load reads the domain that the node is in. A file that is missing, damaged or
// readable by others is an error that says how to get it back.
func (f Files) Load() (Membership, error) {
	id, err := f.current()
	if err != nil {
		return Membership{}, err
	}
	return f.read(id)
}

// Stamp tells one state of the node's domain from another.
type Stamp struct {
	ID      ID
	written time.Time
	inode   uint64
}

// Stamp changes with the domain, its secret, its list and the node's
// certificate. It reads a few bytes only, so that it may be asked each second.
func (f Files) Stamp() (Stamp, error) {
	id, err := f.current()
	if err != nil {
		return Stamp{}, err
	}
	info, err := os.Stat(f.path(id, membershipFile))
	if err != nil {
		return Stamp{}, fmt.Errorf("read domain: %w", err)
	}
	s := Stamp{ID: id, written: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = st.Ino // every change is a new file
	}
	return s, nil
}

func (f Files) read(id ID) (Membership, error) {
	var r membershipRecord
	file := f.path(id, membershipFile)
	if err := readPrivate(file, maxMembership, &r); err != nil {
		return Membership{}, lost(file, err)
	}
	m, err := r.membership()
	if err == nil && m.ID() != id {
		err = fmt.Errorf("it is of domain %s", m.ID())
	}
	if err != nil {
		return Membership{}, lost(file, err)
	}
	admin, err := identity.Load(f.path(id, adminFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return Membership{}, fmt.Errorf("admin key: %w", err)
	case admin.ID() != m.Admin:
		return Membership{}, lost(f.path(id, adminFile), fmt.Errorf("it is the key of %s, the domain's is %s", admin.ID(), m.Admin))
	default:
		m.IsAdmin = true
	}
	return m, nil
}

// lost refuses to go on without a file of the domain: a secret that is made up
// would make another network.
func lost(file string, err error) error {
	return refuse("restore it from a backup; or remove domain.id and domains/ and ask a member for an invitation: ipdc domain join",
		"the node does not start without its domain's file %s: %v", file, err)
}

// current reads which domain the node is in. Where the file with the answer
// never came to be or is gone, the one directory is the answer.
func (f Files) current() (ID, error) {
	b, err := os.ReadFile(filepath.Join(f.Dir, pointerFile))
	if err == nil {
		id, err := ParseID(strings.TrimSuffix(string(b), "\n"))
		if err != nil {
			return "", lost(filepath.Join(f.Dir, pointerFile), err)
		}
		return id, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read domain: %w", err)
	}
	ids, err := f.list()
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "", ErrNone
	case len(ids) > 1:
		return "", refuse("write the id of the right one into it", "%s is gone, and there are %d domains: %v", filepath.Join(f.Dir, pointerFile), len(ids), ids)
	}
	return ids[0], nil
}

// list returns the domains that have a directory.
func (f Files) list() (ids []ID, err error) {
	entries, err := os.ReadDir(filepath.Join(f.Dir, "domains"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if id, err := ParseID(e.Name()); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, err
}

func (f Files) path(id ID, name string) string {
	return filepath.Join(f.Dir, "domains", string(id), name)
}

// Born returns the domain that the node is in. At its first start, and never
// again, it makes one of its own with a random secret, named after the host. What
// it may not remove of another domain is no reason not to start.
func (f Files) Born(node identity.ID, host string, now time.Time) (Membership, error) {
	unlock, err := f.lock()
	if err != nil {
		return Membership{}, err
	}
	defer unlock()
	m, err := f.Load()
	switch {
	case errors.Is(err, ErrNone):
		return f.create(HomeName(host), node, now)
	case err != nil:
		return m, err
	case m.Node != node:
		return m, lost(f.path(m.ID(), membershipFile), fmt.Errorf("it is of node %s, this is %s", m.Node, node))
	}
	if _, err := os.Stat(filepath.Join(f.Dir, pointerFile)); errors.Is(err, fs.ErrNotExist) {
		if err := f.write(f.Dir, pointerFile, []byte(m.ID()+"\n")); err != nil {
			return m, err
		}
	}
	if m, _, err = f.renew(m, now); err != nil {
		return m, err
	}
	if err := f.sweep(m.ID()); err != nil && f.Log != nil { // which an earlier process may not have come to
		f.Log.Warn("a domain that the node is not in stays on its disk; remove it by hand", "err", err)
	}
	return m, nil
}

// Create makes a domain and puts the node into it. force leaves members of the
// old one behind.
func (f Files) Create(name Name, node identity.ID, force bool, now time.Time) (Membership, error) {
	unlock, err := f.lock()
	if err != nil {
		return Membership{}, err
	}
	defer unlock()
	if m, err := f.Load(); err == nil && m.IsAdmin && m.Name == name {
		return m, conflict("see: ipdc domain show", "this node is in its own domain %s already", name)
	}
	if err := f.mayGo(force); err != nil {
		return Membership{}, err
	}
	return f.create(name, node, now)
}

// Leave puts the node into a new domain of its own. What it knew of the old one
// is removed, but for an admin key and what lies beside it.
func (f Files) Leave(node identity.ID, host string, force bool, now time.Time) (Membership, error) {
	unlock, err := f.lock()
	if err != nil {
		return Membership{}, err
	}
	defer unlock()
	m, err := f.Load()
	if err != nil {
		return m, err
	}
	if m.IsAdmin {
		if used, err := f.letIn(m.ID()); err != nil || used == 0 {
			return m, errors.Join(err, conflict("see: ipdc domain show", "this node is alone in its own domain %s: there is nothing to leave", m.Name))
		}
		if err := f.mayGo(force); err != nil {
			return m, err
		}
	}
	return f.create(HomeName(host), node, now)
}

// mayGo refuses to leave a domain by accident.
func (f Files) mayGo(force bool) error {
	m, err := f.Load()
	if errors.Is(err, ErrNone) || force {
		return nil
	}
	if err != nil {
		return err
	}
	if !m.IsAdmin {
		return conflict("leave it first: ipdc domain leave", "this node is a member of the domain %s", m.Name)
	}
	n, err := f.letIn(m.ID())
	if err == nil && n > 0 {
		err = conflict("give --force to go all the same; its key stays in "+f.path(m.ID(), adminFile),
			"this node has let %d nodes into the domain %s, and nobody else can revoke one of them", n, m.Name)
	}
	return err
}

func conflict(hint, format string, a ...any) error {
	return jobspec.Failure{Kind: jobspec.KindConflict, Detail: fmt.Sprintf(format, a...), Hint: hint}.Error()
}

// create makes a domain of one member under the lock.
func (f Files) create(name Name, node identity.ID, now time.Time) (Membership, error) {
	tmp, err := f.newDir()
	if err != nil {
		return Membership{}, err
	}
	defer os.RemoveAll(tmp)
	admin, err := identity.LoadOrCreate(filepath.Join(tmp, adminFile))
	if err != nil {
		return Membership{}, err
	}
	m, err := found(name, admin, node, now)
	if err != nil {
		return m, err
	}
	return m, f.enter(m, tmp)
}

// enter makes m the domain that the node is in. tmp becomes its directory,
// unless there is one.
func (f Files) enter(m Membership, tmp string) error {
	dir := f.path(m.ID(), "")
	if _, err := os.Stat(dir); err == nil {
		tmp = dir
	}
	if err := f.write(tmp, membershipFile, seal(m.record())); err != nil {
		return err
	}
	if tmp != dir {
		if err := f.rename("enter", tmp, dir); err != nil {
			return fmt.Errorf("enter domain %s: %w", m.Name, err)
		}
	}
	if err := f.write(f.Dir, pointerFile, []byte(m.ID()+"\n")); err != nil {
		return err
	}
	return f.sweep(m.ID())
}

// sweep removes what is left of other domains, so that no secret lies about
// that is not needed. Where an admin key lies all is kept, as nobody else has it.
// What cannot be removed keeps nothing else.
func (f Files) sweep(current ID) (failed error) {
	entries, err := os.ReadDir(filepath.Join(f.Dir, "domains"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(f.Dir, "domains", e.Name())
		_, err := os.Stat(filepath.Join(dir, adminFile))
		half := strings.HasPrefix(e.Name(), newPrefix)
		if e.Name() == string(current) || err == nil && !half {
			continue
		}
		err = f.hit("sweep")
		if err == nil {
			err = os.RemoveAll(dir)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("remove %s, which is left of another domain: %w", dir, err))
		}
	}
	return failed
}

// update changes the membership under the lock.
func (f Files) update(change func(*Membership) error) (Membership, error) {
	unlock, err := f.lock()
	if err != nil {
		return Membership{}, err
	}
	defer unlock()
	m, err := f.Load()
	if err != nil {
		return m, err
	}
	if err := change(&m); err != nil {
		return m, err
	}
	if err := f.write(f.path(m.ID(), ""), membershipFile, seal(m.record())); err != nil {
		return m, err
	}
	return f.Load()
}
