package rmtree_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/internal/rmtree"
)

const childEnv = "RMTREE_TEST_PATH"

// TestMain removes a tree as another user when a test asks for it.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := rmtree.Remove(path); err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lstat(%s) = %v, want that it does not exist", path, err)
	}
}

func TestRemove(t *testing.T) {
	for name, build := range map[string]func(t *testing.T, path string){
		"missing": func(*testing.T, string) {},
		"file":    func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("x"), 0o400)) },
		"link":    func(t *testing.T, path string) { must(t, os.Symlink(t.TempDir(), path)) },
		"empty":   func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o500)) },
		"names it uses itself": func(t *testing.T, path string) {
			for i := range 5 {
				must(t, os.MkdirAll(filepath.Join(path, ".rm"+strconv.Itoa(i), ".rm0", ".rm1"), 0o700))
			}
		},
		"wide": func(t *testing.T, path string) {
			for i := range 1200 {
				must(t, os.MkdirAll(filepath.Join(path, strconv.Itoa(i%3), "d"+strconv.Itoa(i)), 0o700))
				must(t, os.WriteFile(filepath.Join(path, strconv.Itoa(i%3), strconv.Itoa(i)), nil, 0o400))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tree")
			build(t, path)
			must(t, rmtree.Remove(path))
			wantGone(t, path)
		})
	}
}

func TestRemoveFollowsNoLink(t *testing.T) {
	outside, path := t.TempDir(), filepath.Join(t.TempDir(), "tree")
	kept := filepath.Join(outside, "kept")
	must(t, os.WriteFile(kept, nil, 0o600))
	must(t, os.MkdirAll(filepath.Join(path, "a"), 0o700))
	must(t, os.Symlink(outside, filepath.Join(path, "link")))
	must(t, os.Symlink(outside, filepath.Join(path, "a", "link")))
	must(t, rmtree.Remove(path))
	wantGone(t, path)
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("a file behind a link: %v", err)
	}
}

// A tree of 5,000 levels, removed with few files open; os.RemoveAll needs one
// per level.
func TestRemoveDeepTree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tree")
	deepTree(t, path, 5_000)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	defer func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) }()
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: old.Max}))
	if err := os.RemoveAll(path); err == nil {
		t.Error("positive control: os.RemoveAll removes the tree as well")
	}
	must(t, rmtree.Remove(path))
	wantGone(t, path)
}

func deepTree(t *testing.T, path string, levels int) {
	t.Helper()
	must(t, os.Mkdir(path, 0o700))
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, "d", 0o700))
		next, err := unix.Openat(fd, "d", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
}

// A user that is not root removes directories it may not even read.
func TestO10RemoveWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	dir, err := os.MkdirTemp("/tmp", "rmtree")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o777))
	bin := filepath.Join(dir, "test")
	self, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(bin, self, 0o755))
	path := filepath.Join(dir, "tree")
	for _, p := range []string{path, path + "/a", path + "/a/b", path + "/a/b/c"} {
		must(t, os.Mkdir(p, 0o700))
		must(t, os.Chown(p, 12345, 12345))
	}
	for _, p := range []string{path + "/a/b/c", path + "/a/b", path + "/a", path} {
		must(t, os.Chmod(p, 0))
	}
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("Remove as another user: %v: %s", err, out)
	}
	wantGone(t, path)
}
