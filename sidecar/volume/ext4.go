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
func mountImage(ctx context.Context, molds *mold, image, dir string, size jobspec.Bytes, inodes int64) error {
	inodes += spareInodes
	// The kernel keeps up to 2 % of the blocks back for its own metadata.
	total := size + size/48 + jobspec.Bytes(inodes*inodeSize) + fixedBytes
	if err := molds.image(ctx, image, shape{int64(total), inodes}); err != nil {
		return err
	}
	if err := mountLoop(image, dir); err != nil {
		// Where loop devices are made by others, mount knows the ways.
		if err := run(ctx, "mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime,"+mountData, image, dir); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	return os.Remove(dir + "/lost+found")
}

// makeFS makes the file system in the sparse file image.
func makeFS(ctx context.Context, image string, s shape) error {
	return run(ctx, "mkfs.ext4", "-q", "-F", "-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize),
		"-N", strconv.FormatInt(s.inodes, 10), "-m", "0", "-O", "^has_journal,^resize_inode",
		"-E", "lazy_itable_init=1,nodiscard,root_owner=0:0", image)
}

// mountData keeps kernel threads from writing to tables nobody reads, and a sync
// of the volume from becoming one of the file below it: then each output would be
// on disk before it is packed, and once more after that.
const mountData = "noinit_itable,barrier=0"

// mountLoop mounts an image by a loop device that goes with its last user.
// Source: loop(4).
func mountLoop(image, dir string) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	conf := &unix.LoopConfig{Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	copy(conf.Info.File_name[:len(conf.Info.File_name)-1], image)
	for range 64 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return fmt.Errorf("find a loop device: %w", err)
		}
		device := "/dev/loop" + strconv.Itoa(n)
		loop, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), conf)
		if err == nil {
			err = unix.Mount(device, dir, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOATIME, mountData)
		} else if err == unix.EBUSY { // somebody was faster
			loop.Close()
			continue
		}
		return errors.Join(err, loop.Close())
	}
	return errors.New("all loop devices are taken before they are used")
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
