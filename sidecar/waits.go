package sidecar

import (
	"context"
	"errors"
	"syscall"

	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// outside says of an error that it is neither about the job nor for good: the
// blocks or the state cannot be reached or written just now, or the process has
// as many files open as it may. A job waits for that until its own deadline, and
// goes on by itself.
func outside(err error) bool {
	return errors.Is(err, ipfs.ErrUnavailable) || errors.Is(err, store.ErrDisk) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// full says whether a disk of this node took nothing.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}

// typed gives an error of a full disk its kind, unless it has one.
func typed(err error) error {
	if !full(err) || jobspec.AsFailure(err).Kind != jobspec.KindInternal {
		return err
	}
	hint := "free space on the node's disk: ipdc job prune, ipdc pin rm CID, then ipdc node gc; then submit again"
	if errors.Is(err, syscall.EROFS) {
		hint = "see what the node's kernel says (dmesg), and have its disk mounted read-write; then submit again"
	}
	return jobspec.Failure{Kind: jobspec.KindQuota, Where: "disk", Detail: err.Error(), Hint: hint}.Error()
}

// awaits says that the job waits for what err is about, and pauses.
func (d *driver) awaits(ctx context.Context, err error, tries int) {
	why := "waits: " + jobspec.AsFailure(err).Detail
	d.log.Warn("job waits", "job", d.id, "try", tries, "err", err)
	if tries == 1 && !errors.Is(err, store.ErrDisk) {
		d.note(d.keep(), jobspec.Event{Job: d.id, Type: jobspec.EventWait, Detail: why})
	}
	d.tellPull(why)
	defer d.tellPull("")
	pause(ctx, tries)
}
