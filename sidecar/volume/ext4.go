package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipdc/ipdc/jobspec"
)

// What an ext4 file system needs for itself.
const (
	blockSize    = 4096
	inodeSize    = 256
	spareInodes  = 13 // 10 reserved, lost+found, outputs, report
	fixedBytes   = 192 * jobspec.KiB
	commandLimit = 30 * time.Second
)

// mountImage makes a sparse file of a file system in which size bytes fit, and
// mounts it at dir. It has no journal: after a power loss the volume is not
// used again.
func mountImage(ctx context.Context, image, dir string, size jobspec.Bytes, inodes int64) error {
	inodes += spareInodes
	// The kernel keeps up to 2 % of the blocks back for its own metadata.
	total := size + size/48 + jobspec.Bytes(inodes*inodeSize) + fixedBytes
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(int64(total)), f.Close()); err != nil {
		return err
	}
	err = run(ctx, "mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize),
		"-N", strconv.FormatInt(inodes, 10), "-m", "0", "-O", "^has_journal,^resize_inode",
		"-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", image)
	if err != nil {
		return err
	}
	// noinit_itable: no kernel thread writes to tables nobody reads.
	if err := run(ctx, "mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime,noinit_itable", image, dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return os.Remove(dir + "/lost+found")
}

func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func remountReadOnly(dir string) error {
	err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, "")
	if err == unix.EBUSY {
		return jobspec.KindConflict.Errorf("a file of it is still open for writing")
	}
	return err
}

// unmount takes away every mount at dir; one that is in use is detached. The
// kernel frees the loop device with the last user.
func unmount(ctx context.Context, dir string, log *slog.Logger) error {
	for ctx.Err() == nil {
		mounted, err := isMounted(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !mounted {
			return nil
		}
		if err != nil {
			return err
		}
		err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
		if err == unix.EBUSY {
			log.Warn("volume is in use, it is detached", "path", dir)
			err = unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
	}
	return ctx.Err()
}

// isMounted says whether dir is the root of a mount of its own.
func isMounted(dir string) (bool, error) {
	var here, parent unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return false, &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if err := unix.Lstat(dir+"/..", &parent); err != nil {
		return false, &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	return here.Dev != parent.Dev, nil
}
