package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ipdc/ipdc/internal/shuffle"
	"github.com/ipdc/ipdc/wire/guest"
)

// sampleFile is what sample leaves in the outputs.
const sampleFile = "keys"

// runSample leaves a sample of the keys that map would see. Its input is pieces
// of what the map tasks get, each below a directory of its own.
func (s *stage) runSample() error {
	var sample shuffle.Sample
	limit := max(s.budget()/4, 1<<20)
	take := func(r io.Reader) error {
		if s.kind == shuffle.Frames {
			return shuffle.EachPair(r, limit, func(key, _ []byte) error {
				sample.Add(key)
				return nil
			})
		}
		return shuffle.EachLine(r, limit, func(line []byte) error {
			sample.Add(shuffle.LineKey(line))
			return nil
		})
	}
	if err := s.pairs(take); err != nil {
		return err
	}
	s.add("sample.pairs", sample.Pairs())
	s.add("sample.keys", sample.Keys())
	if err := os.WriteFile(filepath.Join(s.at(guest.Outputs), sampleFile), sample.Encode(), 0o644); err != nil {
		return fmt.Errorf("write sample: %w", err)
	}
	return nil
}
