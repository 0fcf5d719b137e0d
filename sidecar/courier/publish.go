package courier

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ipdc/ipdc/delivery"
	"github.com/ipdc/ipdc/internal/durable"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/store"
)

// sumsName is the file that is sent last: whoever sees it sees a whole result,
// which `sha256sum -c SHA256SUMS` checks. A result that has something of that
// name keeps it, and ours gets ".ipdc" behind it until nothing has its name.
const sumsName = "SHA256SUMS"

const (
	filesAtOnce = 4
	batchSize   = 64 // files that are sent before the next ones are looked for
)

// publish sends the files of the job's result, behind those that came to their
// place in an earlier try, and then their checksums.
func (c *Courier) publish(ctx context.Context, due store.Due, job jobspec.Job) (_ jobspec.Delivery, err error) {
	d := due.Delivery
	to, err := jobspec.ParsePublish(d.To)
	if err != nil {
		return d, err
	}
	st, err := c.cfg.Outlets.Store(whose(job), to)
	if err != nil {
		return d, err
	}
	sums, err := c.openSums()
	if err != nil {
		return d, err
	}
	defer sums.Close()
	p := &publication{Courier: c, store: st, sums: sums, skip: d.Files, taken: map[string]bool{}, due: due, d: d}
	p.w = bufio.NewWriter(sums)
	fmt.Fprintf(p.w, "# result %s of job %s\n", job.Result, job.ID)
	err = tree.Walk(ctx, c.cfg.IPFS, job.Result, c.cfg.Budget, func(e tree.Entry) error { return p.visit(ctx, e) })
	if err == nil {
		err = p.flush(ctx)
	}
	if err == nil {
		err = p.end(ctx)
	}
	return p.d, err
}

// openSums returns a file that has no name, so that nothing is left of it.
func (c *Courier) openSums() (*os.File, error) {
	f, err := durable.TempFile(c.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("make a file for checksums: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// publication is one try of sending a result.
type publication struct {
	*Courier
	store delivery.Store
	sums  *os.File
	w     *bufio.Writer
	taken map[string]bool // names like that of the checksums
	due   store.Due
	skip  int // files that need no sending any more
	seen  int // files so far
	links int
	batch []tree.Entry
	d     jobspec.Delivery
}

// visit takes an entry of the result. Links have no content, and most places
// know no such thing: they are left out and counted.
func (p *publication) visit(ctx context.Context, e tree.Entry) error {
	if strings.HasPrefix(e.Path, sumsName) {
		p.taken[e.Path] = true
	}
	switch e.Kind {
	case tree.Symlink:
		p.links++
	case tree.File:
		if e.Path == "" {
			e.Path = "data" // a lone file, as a job sees it
		}
		if p.batch = append(p.batch, e); len(p.batch) == batchSize {
			return p.flush(ctx)
		}
	}
	return nil
}

// flush sends the files of the batch and notes their checksums.
func (p *publication) flush(ctx context.Context) error {
	sums := make([][sha256.Size]byte, len(p.batch))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i, e := range p.batch {
		there := p.seen+i < p.skip
		g.Go(func() (err error) {
			if sums[i], err = p.sum(ctx, e); err != nil || there {
				return err
			}
			return p.store.Put(ctx, e.Path, delivery.File{Size: e.Size, Sum: sums[i], Open: func(ctx context.Context) (io.ReadCloser, error) {
				return p.open(ctx, e), nil
			}})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, e := range p.batch {
		if p.seen++; p.seen > p.skip {
			p.d.Files, p.d.Bytes = p.d.Files+1, p.d.Bytes+jobspec.Bytes(e.Size)
		}
		p.line(sums[i], e.Path)
	}
	p.batch = p.batch[:0]
	if p.seen <= p.skip {
		return nil
	}
	return p.put(ctx, p.due, p.d) // the next process goes on behind these
}

// line notes a checksum as sha256sum does: a name with a backslash or a line
// break is escaped, and its line begins with a backslash.
func (p *publication) line(sum [sha256.Size]byte, name string) {
	if escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name); escaped != name {
		_ = p.w.WriteByte('\\') // its error comes with the flush
		name = escaped
	}
	fmt.Fprintf(p.w, "%s  %s\n", hex.EncodeToString(sum[:]), name)
}

// end sends the checksums.
func (p *publication) end(ctx context.Context) error {
	if p.links > 0 {
		fmt.Fprintf(p.w, "# %d symbolic links were left out\n", p.links)
	}
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("note checksums: %w", err)
	}
	size, err := p.sums.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("read checksums: %w", err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(p.sums, 0, size)); err != nil {
		return fmt.Errorf("read checksums: %w", err)
	}
	p.d.Why = ""
	if p.links > 0 {
		p.d.Why = fmt.Sprintf("%d symbolic links were left out", p.links)
	}
	name := sumsName
	for p.taken[name] {
		name += ".ipdc"
	}
	return p.store.Put(ctx, name, delivery.File{Size: size, Sum: [sha256.Size]byte(sum.Sum(nil)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(p.sums, 0, size)), nil
	}})
}

func (p *publication) sum(ctx context.Context, e tree.Entry) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if _, err := tree.Copy(ctx, p.cfg.IPFS, e.CID, h, p.cfg.Budget); err != nil {
		return sum, fmt.Errorf("read %s of the result: %w", e.Path, err)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// open gives the content of a file. Who closes it early ends the reading.
func (p *publication) open(ctx context.Context, e tree.Entry) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	c := &content{PipeReader: r, cancel: cancel}
	c.writer.Go(func() {
		_, err := tree.Copy(ctx, p.cfg.IPFS, e.CID, w, p.cfg.Budget)
		_ = w.CloseWithError(err) // never fails
	})
	return c
}

type content struct {
	*io.PipeReader
	cancel context.CancelFunc
	writer sync.WaitGroup
}

func (c *content) Close() error {
	err := c.PipeReader.Close()
	c.cancel()
	c.writer.Wait()
	return err
}
