// Package repo makes a Kubo private whose repository ipdc is told to manage: it
// speaks to those who have the same swarm.key, and asks nobody else for
// anything. The Kubo that a node is merely beside is left alone; see ipfs/kubo.
//
//	r, err := repo.Open("/var/lib/kubo")
//	changes, err := r.Private(key, false)
//	...
//	changes, err = r.Undo(false)
//
// Invariants: nothing is written while a Kubo has the repository, and none can
// take it meanwhile. What was there is kept before anything is changed, once.
// After a crash a repository is as before, or its Kubo does not start, or it is
// private; doing the same again ends what was begun.
package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipdc/ipdc/jobspec"
)

// Version is the format of repositories that this package knows: that of Kubo
// 0.38 and later.
const Version = 18

const (
	configFile = "config"
	keyFile    = "swarm.key"
	kept       = ".before-ipdc" // ends the names of what was there before
)

// Repo is a repository on disk.
type Repo struct{ dir string }

// Change is one thing that differs, or would.
type Change struct {
	Key  string `json:"key"`  // a key of Kubo's configuration, or swarm.key
	From string `json:"from"` // JSON, or words; "" for nothing
	To   string `json:"to"`
}

// Open looks that dir is a repository of a version that is known.
func Open(dir string) (*Repo, error) {
	b, err := os.ReadFile(filepath.Join(dir, "version"))
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, configFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, jobspec.Failure{
			Kind: jobspec.KindNotFound, Where: dir, Detail: "this is no repository of a Kubo, which has the files config and version",
			Hint: "give its directory, often ~/.ipfs; a new one is made by: IPFS_PATH=" + dir + " ipfs init",
		}.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("look at the repository: %w", err)
	}
	if v, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || v != Version {
		return nil, jobspec.Failure{
			Kind: jobspec.KindConflict, Where: dir, Detail: fmt.Sprintf("the repository has version %.20q, known is %d", bytes.TrimSpace(b), Version),
			Hint: "an older one is brought up to date by Kubo 0.40 or later: ipfs repo migrate; for a newer one use a newer ipdc",
		}.Error()
	}
	return &Repo{dir}, nil
}

// Private writes swarm.key and turns off all that would ask somebody else. With
// dry nothing is written, also while the Kubo runs.
func (r *Repo) Private(key [32]byte, dry bool) ([]Change, error) {
	text := "/key/swarm/psk/1.0.0/\n/base16/\n" + hex.EncodeToString(key[:]) + "\n"
	return r.under(dry, func() ([]Change, error) {
		now, err := r.read(configFile)
		if err != nil {
			return nil, err
		}
		config, err := parse(now)
		if err != nil {
			return nil, err
		}
		changes := config.private()
		old, err := r.read(keyFile)
		if err != nil {
			return nil, err
		}
		if string(old) != text {
			changes = append(changes, Change{keyFile, wordFor(old), "derived from the domain's secret"})
		}
		if dry || len(changes) == 0 {
			return changes, nil
		}
		if err := r.keep(now, old); err != nil {
			return nil, err
		}
		if err := r.write(keyFile, []byte(text)); err != nil {
			return nil, err
		}
		return changes, r.write(configFile, config.bytes())
	})
}

// Undo sets back what Private has changed, and leaves alone what somebody has
// changed beside that.
func (r *Repo) Undo(dry bool) ([]Change, error) {
	return r.under(dry, func() ([]Change, error) {
		before, err := r.read(configFile + kept)
		if err != nil {
			return nil, err
		}
		if before == nil {
			return nil, jobspec.Failure{
				Kind: jobspec.KindNotFound, Where: r.dir, Detail: "nothing was kept here to go back to: there is no " + configFile + kept,
				Hint: "only what ipdc ipfs private has changed can be undone",
			}.Error()
		}
		now, err := r.read(configFile)
		if err != nil {
			return nil, err
		}
		return r.undo(before, now, dry)
	})
}

func (r *Repo) undo(before, now []byte, dry bool) ([]Change, error) {
	was, err := parse(before)
	if err != nil {
		return nil, err
	}
	config, err := parse(now)
	if err != nil {
		return nil, err
	}
	changes := config.restore(was)
	oldKey, err := r.read(keyFile + kept)
	if err != nil {
		return nil, err
	}
	key, err := r.read(keyFile)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(key, oldKey) {
		changes = append(changes, Change{keyFile, wordFor(key), wordFor(oldKey)})
	}
	if dry {
		return changes, nil
	}
	text := config.bytes()
	if config.equal(was) {
		text = before // in the user's own order
	}
	if err := r.write(configFile, text); err != nil {
		return nil, err
	}
	if oldKey != nil {
		err = r.write(keyFile, oldKey)
	} else {
		err = r.remove(keyFile)
	}
	if err == nil { // the copy of the configuration says that there is something to undo: it goes first
		err = r.remove(configFile + kept)
	}
	if err == nil {
		err = r.remove(keyFile + kept)
	}
	return changes, err
}

// keep puts aside what is there, unless that was done already.
func (r *Repo) keep(config, key []byte) error {
	if old, err := r.read(configFile + kept); err != nil || old != nil {
		return err
	}
	err := r.remove(keyFile + kept) // of an undo that was cut short
	if key != nil {
		err = r.write(keyFile+kept, key)
	}
	if err != nil {
		return err
	}
	return r.write(configFile+kept, config)
}

func wordFor(key []byte) string {
	if key == nil {
		return ""
	}
	return "another key"
}

// configuration is Kubo's, as JSON.
type configuration struct{ root map[string]any }

func parse(text []byte) (configuration, error) {
	var c configuration
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err := dec.Decode(&c.root)
	if err == nil && c.root == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return c, fmt.Errorf("read Kubo's configuration: %w", err)
	}
	return c, nil
}

func (c configuration) bytes() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(c.root); err != nil {
		panic(err) // it was JSON
	}
	return b.Bytes()
}

func (c configuration) equal(other configuration) bool { return bytes.Equal(c.bytes(), other.bytes()) }
