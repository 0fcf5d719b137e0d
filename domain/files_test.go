package domain_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ipdc/ipdc/domain"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// node is a node's state directory with a key.
type node struct {
	domain.Files
	key identity.Key
}

func newNode(t testing.TB) node {
	return node{domain.Files{Dir: t.TempDir()}, newKey(t)}
}

// founded is a node in a domain that it has created.
func founded(t testing.TB, name domain.Name) (node, domain.Membership) {
	t.Helper()
	n := newNode(t)
	m, err := n.Create(name, n.key.ID(), false, now)
	if err != nil {
		t.Fatal(err)
	}
	return n, m
}

func isPNet(err error) bool     { return errors.Is(err, jobspec.KindPNet.Error()) }
func isConflict(err error) bool { return errors.Is(err, jobspec.KindConflict.Error()) }

func says(err error, text string) bool {
	return err != nil && strings.Contains(jobspec.AsFailure(err).Detail+err.Error(), text)
}

// A node is born once, in a domain of its own, and keeps it.
func TestBorn(t *testing.T) {
	n, other := newNode(t), newNode(t)
	if _, err := n.Load(); !errors.Is(err, domain.ErrNone) {
		t.Fatalf("Load before birth = %v, want ErrNone", err)
	}
	m, err := n.Born(n.key.ID(), "Lab7.example", now)
	if err != nil || m.Name != "lab7" || !m.IsAdmin || m.List.Generation != 1 || m.Certificate.Role != domain.RoleAdmin {
		t.Fatalf("Born = %v, %v", m, err)
	}
	again, err := n.Born(n.key.ID(), "renamed", now.Add(time.Hour))
	if err != nil || again.PSK() != m.PSK() || again.Name != "lab7" {
		t.Errorf("Born again = %v, %v, want the same domain", again, err)
	}
	theirs, err := other.Born(other.key.ID(), "Lab7.example", now)
	if err != nil || theirs.PSK() == m.PSK() || theirs.ID() == m.ID() {
		t.Errorf("another node of the same name: %v, %v, want another secret and id", theirs, err)
	}
	if _, err := n.Born(other.key.ID(), "", now); !isPNet(err) {
		t.Errorf("Born with another node's key = %v, want E_PNET", err)
	}
}

// P02: with a file of its domain gone, damaged or open to others a node does
// not start, and makes up no other.
func TestP02NoStartWithoutSecret(t *testing.T) {
	membership := func(n node, m domain.Membership) string {
		return filepath.Join(n.Dir, "domains", m.ID().String(), "membership")
	}
	for name, damage := range map[string]func(n node, m domain.Membership) error{
		"gone":      func(n node, m domain.Membership) error { return os.Remove(membership(n, m)) },
		"empty":     func(n node, m domain.Membership) error { return os.Truncate(membership(n, m), 0) },
		"cut":       func(n node, m domain.Membership) error { return os.Truncate(membership(n, m), 300) },
		"open":      func(n node, m domain.Membership) error { return os.Chmod(membership(n, m), 0o640) },
		"flipped":   func(n node, m domain.Membership) error { return flip(membership(n, m), -40) },
		"directory": func(n node, m domain.Membership) error { return os.RemoveAll(filepath.Join(n.Dir, "domains")) },
		"pointer":   func(n node, m domain.Membership) error { return flip(filepath.Join(n.Dir, "domain.id"), 3) },
		"admin key": func(n node, m domain.Membership) error {
			_, err := identity.LoadOrCreate(filepath.Join(n.Dir, "other"))
			return errors.Join(err, os.Rename(filepath.Join(n.Dir, "other"), filepath.Join(n.Dir, "domains", m.ID().String(), "admin.key")))
		},
		"another's": func(n node, m domain.Membership) error {
			_, theirs := founded(t, "other")
			return errors.Join(os.Rename(filepath.Dir(membership(n, m)), filepath.Join(n.Dir, "domains", theirs.ID().String())),
				os.WriteFile(filepath.Join(n.Dir, "domain.id"), []byte(theirs.ID()+"\n"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, m := founded(t, "lab")
			if again, err := n.Born(n.key.ID(), "", now); err != nil || again.PSK() != m.PSK() {
				t.Fatalf("control: Born = %v, %v", again, err)
			}
			if err := damage(n, m); err != nil {
				t.Fatal(err)
			}
			before := tree(t, n.Dir)
			if got, err := n.Born(n.key.ID(), "", now); !isPNet(err) {
				t.Errorf("Born = %v, %v, want E_PNET", got, err)
			}
			if diff := cmp.Diff(before, tree(t, n.Dir)); diff != "" {
				t.Errorf("a refused start changed files:\n%s", diff)
			}
		})
	}
}

// The pointer alone can be told from what is left.
func TestPointerGone(t *testing.T) {
	n, m := founded(t, "lab")
	if err := os.Remove(filepath.Join(n.Dir, "domain.id")); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Born(n.key.ID(), "", now); err != nil || got.PSK() != m.PSK() {
		t.Errorf("Born = %v, %v, want the domain that is there", got, err)
	}
	if b, err := os.ReadFile(filepath.Join(n.Dir, "domain.id")); err != nil || string(b) != m.ID().String()+"\n" {
		t.Errorf("the pointer after that: %q, %v", b, err)
	}
	if _, err := n.Create("second", n.key.ID(), false, now); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.Dir, "domain.id")); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Born(n.key.ID(), "", now); !isPNet(err) {
		t.Errorf("Born with two domains and no pointer = %v, %v, want E_PNET", got, err)
	}
}

func flip(file string, at int) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b[(at+len(b))%len(b)] ^= 1
	return os.WriteFile(file, b, 0o600)
}

// tree is what lies in a directory, content included.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		files[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// P04: no name reaches a path; directories are named by a hash.
func TestP04DirectoriesByHash(t *testing.T) {
	n, m := founded(t, "lab.example")
	for path := range tree(t, n.Dir) {
		if strings.Contains(path, "lab") {
			t.Errorf("%s has the domain's name in its path", path)
		}
	}
	if dir := filepath.Join(n.Dir, "domains", m.ID().String()); len(m.ID()) != 26 {
		t.Errorf("directory %s, want an id of 26 characters", dir)
	}
	for file := range tree(t, n.Dir) {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v, want mode 0600", file, info.Mode(), err)
		}
	}
}

// A crash between any two steps leaves the old domain or the new one, whole,
// and the same command finishes the work.
func TestCrashWhileCreating(t *testing.T) {
	for _, from := range []string{"", "first"} {
		steps := 0
		for at := 0; ; at++ {
			n := newNode(t)
			var old domain.Membership
			if from != "" {
				var err error
				if old, err = n.Create(domain.Name(from), n.key.ID(), false, now); err != nil {
					t.Fatal(err)
				}
			}
			seen := 0
			_, err := n.WithSteps(crashAt(at, &seen)).Create("second", n.key.ID(), false, now)
			if err == nil {
				steps = seen
				break
			}
			m, err := n.Load()
			switch {
			case from == "" && errors.Is(err, domain.ErrNone), err == nil && m.Name == "second", err == nil && m.PSK() == old.PSK():
			default:
				t.Fatalf("from %q, crash at step %d: %v, %v", from, at, m, err)
			}
			if m, err = n.Create("second", n.key.ID(), false, now); err != nil && !isConflict(err) || m.Name != "second" {
				t.Fatalf("from %q, again after a crash at step %d: %v, %v", from, at, m, err)
			}
			leftovers, err := filepath.Glob(filepath.Join(n.Dir, "domains", ".new-*"))
			if err != nil || len(leftovers) > 0 {
				t.Fatalf("crash at step %d leaves %v, %v", at, leftovers, err)
			}
		}
		if steps < 7 {
			t.Errorf("from %q: %d steps, want at least 7", from, steps)
		}
	}
}

var errCrash = errors.New("crash")

// crashAt ends everything at the step number n, from 0.
func crashAt(n int, seen *int) func(string) error {
	return func(name string) error {
		*seen++
		if *seen > n {
			return fmt.Errorf("%s: %w", name, errCrash)
		}
		return nil
	}
}

func TestCreateAndLeave(t *testing.T) {
	n, first := founded(t, "first")
	if _, err := n.Create("first", n.key.ID(), false, now); !isConflict(err) {
		t.Errorf("the same again = %v, want a conflict", err)
	}
	if _, err := n.Leave(n.key.ID(), "h", false, now); !isConflict(err) {
		t.Errorf("leaving an own domain = %v, want a conflict", err)
	}
	letIn(t, n, newNode(t))
	if _, err := n.Create("second", n.key.ID(), false, now); !isConflict(err) || !says(err, "let 1 nodes into") {
		t.Errorf("leaving members behind = %v, want a conflict", err)
	}
	m, err := n.Create("second", n.key.ID(), true, now)
	if err != nil || m.Name != "second" {
		t.Errorf("by force = %v, %v", m, err)
	}
	if _, err := os.Stat(filepath.Join(n.Dir, "domains", first.ID().String(), "admin.key")); err != nil {
		t.Errorf("the first domain's admin key: %v", err)
	}
}

// What a start cannot remove is told of, and keeps the node from nothing; who
// leaves a domain hears that its secret stays.
func TestStartWithALeftover(t *testing.T) {
	n, m := founded(t, "lab")
	left := filepath.Join(n.Dir, "domains", ".new-1")
	if err := os.Mkdir(left, 0o700); err != nil {
		t.Fatal(err)
	}
	denied := n.WithSteps(func(step string) error {
		if step == "sweep" {
			return syscall.EPERM
		}
		return nil
	})
	var said bytes.Buffer
	denied.Log = slog.New(slog.NewTextHandler(&said, nil))
	if got, err := denied.Born(n.key.ID(), "", now); err != nil || got.ID() != m.ID() {
		t.Errorf("Born = %v, %v, want the domain", got, err)
	}
	if !strings.Contains(said.String(), "level=WARN") || !strings.Contains(said.String(), left) {
		t.Errorf("Born says %q, want a warning about %s", &said, left)
	}
	if _, err := denied.Create("other", n.key.ID(), true, now); !errors.Is(err, syscall.EPERM) {
		t.Errorf("Create = %v, want that something is left", err)
	}
	if _, err := n.Born(n.key.ID(), "", now); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a start that may remove the leftover: %v, want it gone", err)
	}
}

// What a node has left it knows no more.
func TestLeaveForgets(t *testing.T) {
	a, _ := founded(t, "lab")
	b := newNode(t)
	m := letIn(t, a, b)
	if _, err := b.Create("own", b.key.ID(), false, now); !isConflict(err) {
		t.Errorf("creating while a member = %v, want a conflict", err)
	}
	own, err := b.Leave(b.key.ID(), "host", false, now)
	if err != nil || own.Name != "host" || !own.IsAdmin || own.PSK() == m.PSK() {
		t.Fatalf("Leave = %v, %v", own, err)
	}
	for file, content := range tree(t, b.Dir) {
		for _, secret := range m.Secrets() {
			if bytes.Contains([]byte(content), secret) {
				t.Errorf("%s still has a secret of the domain that was left", file)
			}
		}
	}
}
