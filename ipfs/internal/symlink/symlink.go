// Package symlink is the one rule for symbolic links in inputs and outputs:
// they stay inside their tree, by their own text and through other links.
//
//	var tree symlink.Tree
//	err := tree.Add("a/b", "../c") // E_SYMLINK when the text alone leads out
//	...
//	err = tree.Check()             // once all links are known
//
// Invariants: nothing is looked up in a file system; the work per link is
// bounded; what Check accepts, the kernel resolves inside the tree.
package symlink

import (
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

const (
	maxBytes  = 64 << 20 // of all paths and targets, which are kept in memory
	maxTarget = 4095     // bytes, as Linux has it
	maxSteps  = 512      // names on the way to one link's end
	maxHops   = 40       // links on the way to one link's end, as Linux has it
)

// Tree collects the symbolic links of one directory tree.
type Tree struct {
	targets map[string]string // by path below the root
	bytes   int
}

// Add takes the link at a slash-separated path below the root. The error is of
// kind E_SYMLINK when the target is empty, absolute, too long, or leads out of
// the tree by its own text.
func (t *Tree) Add(path, target string) error {
	switch {
	case target == "" || len(target) > maxTarget || strings.ContainsRune(target, 0):
		return jobspec.KindSymlink.Errorf("symbolic link with a target of %d bytes", len(target))
	case strings.HasPrefix(target, "/"):
		return jobspec.KindSymlink.Errorf("symbolic link to the absolute path %.100q", target)
	}
	if t.bytes += len(path) + len(target); t.bytes > maxBytes {
		return jobspec.KindLimitBytes.Errorf("symbolic links have over %d bytes", maxBytes)
	}
	if t.targets == nil {
		t.targets = map[string]string{}
	}
	t.targets[path] = target
	return (&Tree{}).follow(path, target)
}

// Check returns an error of kind E_SYMLINK when a link leads out of the tree
// through other links.
func (t *Tree) Check() error {
	for path, target := range t.targets {
		if err := t.follow(path, target); err != nil {
			return err
		}
	}
	return nil
}

// follow walks from path's directory along target as the kernel does. A name
// that is not there counts as a directory: it may be made later.
func (t *Tree) follow(path, target string) error {
	at := parent(path)
	todo := strings.Split(target, "/")
	hops, steps := 0, 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if steps++; steps > maxSteps {
			return jobspec.KindSymlink.Errorf("symbolic link %.100q is too long to follow", path)
		}
		switch name {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return jobspec.KindSymlink.Errorf("symbolic link %.100q to %.100q leads out of the tree", path, target)
			}
			at = parent(at)
			continue
		}
		at = strings.TrimPrefix(at+"/"+name, "/")
		next, ok := t.targets[at]
		if !ok {
			continue
		}
		if hops++; hops > maxHops {
			return jobspec.KindSymlink.Errorf("symbolic link %.100q passes over %d links", path, maxHops)
		}
		at = parent(at)
		todo = append(strings.Split(next, "/"), todo...)
	}
	return nil
}

func parent(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }
