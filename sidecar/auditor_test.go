package sidecar_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/datastore/dshelp"

	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// untilJob waits until a job's record is as ok wants it.
func (b *bench) untilJob(ref, what string, ok func(wire.Job) bool) (j wire.Job) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		var err error
		if j, err = b.Job(b.t.Context(), "t", ref); err != nil {
			b.t.Fatal(err)
		}
		if ok(j) {
			return j
		}
	}
	b.t.Fatalf("job %s never %s: %s, %+v, unavailable: %q, waiting: %q", ref, what, j.State, j.Failure, j.Unavailable, j.Waiting)
	return j
}

func unavailable(j wire.Job) bool { return j.Unavailable != "" }
func available(j wire.Job) bool   { return j.Unavailable == "" }

// A block of a result that is deleted or damaged on the disk is found by the
// audit and never given out; the record says so until it is whole again.
func TestF39DamagedResult(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.auditEvery = time.Millisecond
	b.restart()
	ref := b.submit(spec("DUMMY_WRITE=/outputs/a:" + strings.Repeat("result ", 1000)))
	j := b.final(ref)
	var leaf jobspec.CID
	for _, e := range b.files(j.Result) {
		leaf = e
	}
	name := dshelp.MultihashToDsKey(leaf.Cid().Hash()).String()[1:]
	file := filepath.Join(b.dir, "ipfs", "blocks", name[len(name)-3:len(name)-1], name+".data")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flipped := append([]byte{whole[0] ^ 1}, whole[1:]...)
	for what, damage := range map[string]func(){
		"flipped": func() { put(flipped) },
		"deleted": func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		damage()
		j := b.untilJob(ref, "noticed a block that was "+what, unavailable)
		if !strings.Contains(j.Unavailable, leaf.String()) {
			t.Errorf("%s: the record says %q, want the block %s in it", what, j.Unavailable, leaf)
		}
		if data, err := b.ipfs.Get(t.Context(), leaf); err == nil {
			t.Errorf("%s: the block is given out, %d bytes", what, len(data))
		}
		put(whole)
		b.untilJob(ref, "is whole again", available)
	}
}

// A wrong period is the default one, and not the end of the process.
func TestNegativeAuditEvery(t *testing.T) {
	b := newBench(t)
	b.auditEvery = -1
	b.restart()
	if j := b.final(b.submit(spec("DUMMY_WRITE=/outputs/a:b"))); j.State != jobspec.JobSucceeded {
		t.Errorf("the job is %s", j.State)
	}
}
