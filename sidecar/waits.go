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

// typed gives an error of a full disk its kind.
func typed(err error) error {
	if !full(err) {
		return err
	}
	return jobspec.Failure{
		Kind: jobspec.KindLimit, Where: "disk", Detail: err.Error(),
		Hint: "free space on the node's disk: ipdc job prune, ipdc pin rm CID, then ipdc node gc; then submit again",
	}.Error()
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
