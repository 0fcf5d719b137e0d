package split

import (
	"context"
	"fmt"
)

// sample is one group of pieces, spread evenly over all bytes. It reads a few
// leaves for each of them, and nothing of what lies between.
func (c *cutter) sample(ctx context.Context, files []file) ([][]piece, error) {
	total := sum(files, func(f file) int64 { return f.size })
	n := int64(c.o.Sample)
	s := sampler{cutter: c, files: files, most: max(maxFiles/int(n), 1)}
	if total <= n*c.o.Size && len(files) <= maxFiles {
		n = 0
		for _, f := range files {
			s.take(0, whole(f))
		}
	}
	for i := range n {
		if err := s.window(ctx, int(i), scale(total, i, n)); err != nil {
			return nil, err
		}
	}
	if len(s.out) == 0 {
		return nil, nil
	}
	return [][]piece{s.out}, nil
}

// sampler takes the pieces of one window after the other.
type sampler struct {
	*cutter
	files []file
	most  int // files of a window

	at    int   // the file in which the next piece may begin
	begin int64 // of that file among all bytes
	from  int64 // where in it the next piece may begin: a border
	out   []piece
}

// window takes about Size bytes behind an offset among all bytes: of small files
// several, of a large one a piece.
func (s *sampler) window(ctx context.Context, number int, offset int64) error {
	for s.at < len(s.files)-1 && s.begin+s.files[s.at].size <= offset {
		s.next()
	}
	from, left := offset-s.begin, s.o.Size
	for range s.most {
		if s.at == len(s.files) || left <= 0 {
			return nil
		}
		p, err := s.piece(ctx, s.files[s.at], max(from, s.from), left)
		if err != nil {
			return err
		}
		if p.from < p.to || p.size == 0 {
			left -= p.to - p.from
			s.take(number, p)
		}
		if s.from = p.to; p.to < p.size {
			return nil
		}
		s.next()
		from = 0
	}
	return nil
}

func (s *sampler) take(number int, p piece) {
	p.path = fmt.Sprintf("%05d/%s", number, p.path)
	s.out = append(s.out, p)
}

func (s *sampler) next() {
	s.begin += s.files[s.at].size
	s.at, s.from = s.at+1, 0
}

// piece is what of a file lies behind from, about size bytes, or where files are
// not cut the whole of it.
func (s *sampler) piece(ctx context.Context, f file, from, size int64) (p piece, err error) {
	if p = whole(f); !s.o.cuts() {
		return p, nil
	}
	p.from = from
	if from > s.from {
		if p.from, err = s.border(ctx, f, from); err != nil {
			return p, err
		}
	}
	if f.size-p.from > size {
		p.to, err = s.border(ctx, f, p.from+size)
	}
	return p, err
}
