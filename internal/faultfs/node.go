package faultfs

import (
	"context"
	"maps"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// dir is a directory. Its names are durable once it was synced.
type dir struct {
	fs.Inode
	disk        *disk
	mode        uint32
	now, synced map[string]fs.InodeEmbedder // *dir or *file
}

var (
	_ fs.NodeGetattrer = (*dir)(nil)
	_ fs.NodeSetattrer = (*dir)(nil)
	_ fs.NodeCreater   = (*dir)(nil)
	_ fs.NodeMkdirer   = (*dir)(nil)
	_ fs.NodeUnlinker  = (*dir)(nil)
	_ fs.NodeRmdirer   = (*dir)(nil)
	_ fs.NodeRenamer   = (*dir)(nil)
	_ fs.NodeFsyncer   = (*dir)(nil)
	_ fs.NodeStatfser  = (*dir)(nil)
)

func newDir(k *disk, mode uint32) *dir {
	return &dir{disk: k, mode: mode, now: map[string]fs.InodeEmbedder{}, synced: map[string]fs.InodeEmbedder{}}
}

func path(n *fs.Inode, name string) string { return n.Path(nil) + "/" + name }

// Getattr implements fs.NodeGetattrer.
func (d *dir) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	out.Mode = d.mode
	return 0
}

// Setattr implements fs.NodeSetattrer: of directories it takes the mode.
func (d *dir) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if m, ok := in.GetMode(); ok {
		d.mode = m & 0o7777
	}
	out.Mode = d.mode
	return 0
}

// Create implements fs.NodeCreater.
func (d *dir) Create(ctx context.Context, name string, _ uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	at := path(&d.Inode, name)
	if errno := d.disk.begin(Create, at); errno != 0 {
		return nil, nil, 0, errno
	}
	f := &file{disk: d.disk, mode: mode & 0o7777}
	d.now[name] = f
	id := d.disk.inode()
	d.disk.mu.Unlock()
	out.Mode = f.mode | syscall.S_IFREG
	return d.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG, Ino: id}), nil, f.flags(at), 0
}

// Mkdir implements fs.NodeMkdirer.
func (d *dir) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := d.disk.begin(Create, path(&d.Inode, name)); errno != 0 {
		return nil, errno
	}
	c := newDir(d.disk, mode&0o7777)
	d.now[name] = c
	id := d.disk.inode()
	d.disk.mu.Unlock()
	out.Mode = c.mode | syscall.S_IFDIR
	return d.NewPersistentInode(ctx, c, fs.StableAttr{Mode: syscall.S_IFDIR, Ino: id}), 0
}

// Unlink implements fs.NodeUnlinker.
func (d *dir) Unlink(_ context.Context, name string) syscall.Errno {
	if errno := d.disk.begin(Remove, path(&d.Inode, name)); errno != 0 {
		return errno
	}
	defer d.disk.mu.Unlock()
	delete(d.now, name)
	return 0
}

// Rmdir implements fs.NodeRmdirer.
func (d *dir) Rmdir(_ context.Context, name string) syscall.Errno {
	if errno := d.disk.begin(Remove, path(&d.Inode, name)); errno != 0 {
		return errno
	}
	defer d.disk.mu.Unlock()
	if c, ok := d.now[name].(*dir); ok && len(c.now) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(d.now, name)
	return 0
}

// Rename implements fs.NodeRenamer.
func (d *dir) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	if errno := d.disk.begin(Rename, path(&d.Inode, name)+" "+newName); errno != 0 {
		return errno
	}
	defer d.disk.mu.Unlock()
	to := parent.(*dir)
	if old, ok := to.now[newName].(*dir); ok && len(old.now) > 0 {
		return syscall.ENOTEMPTY
	}
	to.now[newName] = d.now[name]
	delete(d.now, name)
	return 0
}

// Fsync implements fs.NodeFsyncer: the names become durable, not what they
// name.
func (d *dir) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if errno := d.disk.begin(Sync, path(&d.Inode, "")); errno != 0 {
		return errno
	}
	defer d.disk.mu.Unlock()
	d.synced = maps.Clone(d.now)
	return 0
}

// Statfs implements fs.NodeStatfser: there is always room.
func (d *dir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks, out.Bfree, out.Bavail, out.Files, out.Ffree = 1<<24, 1<<23, 1<<23, 1<<20, 1<<20
	return 0
}
