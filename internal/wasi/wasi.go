// Package wasi names the runtime of WASI modules, for those who resolve the
// image `wasm` and those who run it.
//
//	spec.Run = jobspec.Run{Image: wasi.Image, Command: []string{"/code/count.wasm"}, Code: dir}
//
// Invariant: [ID] changes with everything of the runtime that a module's
// output may depend on, as it is part of each key.
package wasi

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"github.com/ipdc/ipdc/jobspec"
)

const (
	// Image is the image name that stands for "the module in run.code".
	Image = "wasm"
	// Arch is what modules are built for, in Go's words.
	Arch = "wasm"
	// Runtime is the module and version that runs them; go.mod says the same.
	Runtime = "github.com/tetratelabs/wazero v1.12.0"
	// Interface is what a module may import.
	Interface = "wasi_snapshot_preview1"
)

// generation is raised when what a module sees of its place changes.
const generation = "1"

// ID is the identity of the image `wasm`: a digest of the runtime's version
// and interface in place of an image's config.
func ID() jobspec.ImageID {
	sum := sha256.Sum256([]byte("ipdc wasm\n" + Runtime + "\n" + Interface + "\n" + generation + "\n"))
	return jobspec.ImageID("sha256:" + hex.EncodeToString(sum[:]))
}

// IsModule reports whether b begins as a core WebAssembly module does. A
// component, which begins with another version, is none.
func IsModule(b []byte) bool { return bytes.HasPrefix(b, []byte("\x00asm\x01\x00\x00\x00")) }

// IsComponent reports whether b begins as a WebAssembly component does: the
// later format, which preview 1 runtimes do not run.
func IsComponent(b []byte) bool { return bytes.HasPrefix(b, []byte("\x00asm")) && !IsModule(b) }
