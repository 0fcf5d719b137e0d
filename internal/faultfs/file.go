package faultfs

import (
	"bytes"
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// file is a regular file.
type file struct {
	fs.Inode
	disk   *disk
	mode   uint32
	data   []byte
	synced []byte // at the last sync
	dirty  []span // written since
}

type span struct{ from, to int64 }

var (
	_ fs.NodeGetattrer = (*file)(nil)
	_ fs.NodeSetattrer = (*file)(nil)
	_ fs.NodeOpener    = (*file)(nil)
	_ fs.NodeReader    = (*file)(nil)
	_ fs.NodeWriter    = (*file)(nil)
	_ fs.NodeFlusher   = (*file)(nil)
	_ fs.NodeFsyncer   = (*file)(nil)
)

func (f *file) attr(out *fuse.AttrOut) {
	out.Mode, out.Size, out.Blocks = f.mode, uint64(len(f.data)), uint64(len(f.data)+511)/512
}

// Getattr implements fs.NodeGetattrer.
func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.attr(out)
	return 0
}

// Setattr implements fs.NodeSetattrer: mode and size.
func (f *file) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := f.disk.begin(Write, path(&f.Inode, "")); errno != 0 {
		return errno
	}
	defer f.disk.mu.Unlock()
	if m, ok := in.GetMode(); ok {
		f.mode = m & 0o7777
	}
	if size, ok := in.GetSize(); ok {
		f.resize(int64(size))
	}
	f.attr(out)
	return 0
}

func (f *file) resize(size int64) {
	if size <= int64(len(f.data)) {
		f.data = bytes.Clone(f.data[:size])
		return
	}
	f.data = append(f.data, make([]byte, size-int64(len(f.data)))...)
}

func (f *file) flags(path string) uint32 {
	if f.disk.uncached(path) {
		return fuse.FOPEN_DIRECT_IO
	}
	return 0
}

// Open implements fs.NodeOpener.
func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, f.flags(path(&f.Inode, "")), 0
}

// Read implements fs.NodeReader.
func (f *file) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := f.disk.begin(Read, path(&f.Inode, "")); errno != 0 {
		return nil, errno
	}
	defer f.disk.mu.Unlock()
	if off >= int64(len(f.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, f.data[off:])]), 0
}

// Write implements fs.NodeWriter.
func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := f.disk.begin(Write, path(&f.Inode, "")); errno != 0 {
		return 0, errno
	}
	defer f.disk.mu.Unlock()
	end := off + int64(len(data))
	if end > int64(len(f.data)) {
		f.resize(end)
	}
	copy(f.data[off:], data)
	f.dirty = append(f.dirty, span{off, end})
	return uint32(len(data)), 0
}

// Flush implements fs.NodeFlusher: closing makes nothing durable.
func (f *file) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// Fsync implements fs.NodeFsyncer.
func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	if errno := f.disk.begin(Sync, path(&f.Inode, "")); errno != 0 {
		return errno
	}
	defer f.disk.mu.Unlock()
	f.synced, f.dirty = bytes.Clone(f.data), nil
	return 0
}
