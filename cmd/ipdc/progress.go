package main

import (
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar shows progress on a terminal and nothing elsewhere.
type bar struct {
	p   *mpb.Progress
	b   *mpb.Bar
	max atomic.Int64
}

// bytesBar counts bytes; a total of 0 is unknown.
func (a *app) bytesBar(name string, total int64) *bar {
	return a.newBar(name, total, decor.Counters(decor.SizeB1000(0), "% .1f / % .1f"), decor.AverageSpeed(decor.SizeB1000(0), " % .1f"))
}

// filesBar counts files.
func (a *app) filesBar(name string, total int64) *bar {
	return a.newBar(name, total, decor.CountersNoUnit("%d / %d files"), decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace))
}

func (a *app) newBar(name string, total int64, counter, pace decor.Decorator) *bar {
	if !tty(a.err) || a.quiet {
		return &bar{}
	}
	p := mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))
	b := p.AddBar(total,
		mpb.PrependDecorators(decor.Name(visible(name)+" ")),
		mpb.AppendDecorators(counter, pace),
		mpb.BarRemoveOnComplete(),
	)
	return &bar{p: p, b: b}
}

func (b *bar) set(n int64) {
	if b.b == nil {
		return
	}
	if n > b.max.Load() { // an unknown or low total grows with what has come
		b.max.Store(n)
	}
	b.b.SetCurrent(n)
}

// total says how much there is, once that is known.
func (b *bar) total(n int64) {
	if b.b != nil {
		b.b.SetTotal(n, false)
	}
}

// done takes the bar off the screen.
func (b *bar) done() {
	if b.p == nil {
		return
	}
	b.b.Abort(true)
	b.p.Wait()
}
