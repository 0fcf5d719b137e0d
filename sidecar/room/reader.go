package room

import "io"

// every is how many bytes come in between two looks at the disk.
const every = 16 << 20

// Reader returns a reader of r that calls check each 16 MiB and ends with its
// error: for data of unknown length that is stored as it comes.
func Reader(r io.Reader, check func() error) io.Reader { return &reader{Reader: r, check: check} }

type reader struct {
	io.Reader
	check func() error
	since int
}

func (r *reader) Read(p []byte) (int, error) {
	if r.since >= every {
		if err := r.check(); err != nil {
			return 0, err
		}
		r.since = 0
	}
	n, err := r.Reader.Read(p)
	r.since += n
	return n, err
}
