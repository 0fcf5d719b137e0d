package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/ipdc/ipdc/internal/durable"
)

// guest returns a path of the ipdc-guest binary that the engine sees too.
func (n *node) guest() (string, error) {
	path, err := n.findGuest()
	if _, inside := os.Stat(insideContainer); err != nil || inside != nil {
		return path, err
	}
	return shareGuest(path, n.set.Path)
}

// insideContainer is a file that the engine puts into its containers.
const insideContainer = "/.dockerenv"

// shareGuest copies the guest into the state directory, which the engine knows
// under the same path, unlike a container's root. It is named by its content,
// as running jobs may have an older one mounted.
func shareGuest(path, dir string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	shared := filepath.Join(dir, "guest-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(shared); !errors.Is(err, fs.ErrNotExist) {
		return shared, err
	}
	if err := durable.WriteFile(shared, b, 0o755); err != nil {
		return "", fmt.Errorf("share ipdc-guest with the engine: %w", err)
	}
	return shared, nil
}

// findGuest finds the binary: where the settings say, else beside this
// program, else in PATH.
func (n *node) findGuest() (string, error) {
	if n.set.Guest != "" {
		return filepath.Abs(n.set.Guest)
	}
	self, err := os.Executable()
	if err == nil {
		beside := filepath.Join(filepath.Dir(self), "ipdc-guest")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("ipdc-guest")
	if err != nil {
		return "", errors.New("ipdc-guest is missing: it belongs beside ipdc (make build makes both), or name it with --guest")
	}
	return filepath.Abs(path)
}
