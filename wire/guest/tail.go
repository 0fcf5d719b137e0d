package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Limits bound the reading of a report. The zero value of a field means its
// default.
type Limits struct {
	Total int64 // bytes of the report that are ever looked at; default 64 MiB
	Batch int   // bytes read by one call, at least 2*MaxLine; default 1 MiB
}

// Batch is what one call of Tail found.
type Batch struct {
	Lines   []Line
	Offset  int64 // where the next call goes on
	Skipped int   // lines that were malformed, too long or of unknown type
	More    bool  // the next call will find something at once
	Full    bool  // Limits.Total is reached: nothing more is ever read
}

// ErrNotRegular says that the report is a link, a pipe, a device or a
// directory: the program has put it there.
var ErrNotRegular = errors.New("report is not a regular file")

// Tail reads the whole lines that stand in the report at path from offset on.
// A report that is missing, or shorter than offset, gives an empty batch.
// An unfinished last line stays for the next call. The file is untrusted: see
// ErrNotRegular; it may change while it is read.
func Tail(path string, offset int64, lim Limits) (Batch, error) {
	lim = lim.withDefaults()
	if offset >= lim.Total {
		return Batch{Offset: offset, Full: true}, nil
	}
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Batch{Offset: offset}, nil
	case errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENXIO):
		return Batch{Offset: offset}, ErrNotRegular
	case err != nil:
		return Batch{Offset: offset}, fmt.Errorf("open report: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return Batch{Offset: offset}, fmt.Errorf("stat report: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return Batch{Offset: offset}, ErrNotRegular
	}
	want := min(fi.Size(), lim.Total) - offset
	if want <= 0 {
		return Batch{Offset: offset}, nil
	}
	buf := make([]byte, min(want, int64(lim.Batch)))
	n, err := f.ReadAt(buf, offset)
	if err != nil && err != io.EOF {
		return Batch{Offset: offset}, fmt.Errorf("read report: %w", err)
	}
	b := parse(buf[:n], offset)
	b.More = b.Offset > offset && b.Offset < min(fi.Size(), lim.Total)
	b.Full = !b.More && fi.Size() >= lim.Total
	return b, nil
}

func (l Limits) withDefaults() Limits {
	if l.Total <= 0 {
		l.Total = 64 << 20
	}
	if l.Batch <= 0 {
		l.Batch = 1 << 20
	}
	l.Batch = max(l.Batch, 2*MaxLine)
	return l
}

// parse splits data, which begins at offset of the report, into lines. A rest
// without newline is left unless it is longer than any line may be; then it is
// passed over, so that an endless line cannot hold the reader.
func parse(data []byte, offset int64) Batch {
	b := Batch{Offset: offset}
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 && len(data) < MaxLine {
			break
		}
		end := i + 1
		if i < 0 {
			end = len(data)
		}
		line, ok := Line{}, false
		if end <= MaxLine && i >= 0 {
			line, ok = parseLine(data[:i])
		}
		if ok {
			b.Lines = append(b.Lines, line)
		} else {
			b.Skipped++
		}
		b.Offset += int64(end)
		data = data[end:]
	}
	return b
}
