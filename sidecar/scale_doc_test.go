package sidecar_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
	members "github.com/ipdc/ipdc/sidecar/fleet"
	"github.com/ipdc/ipdc/wire"
)

// TestScaleCurves writes the tables of docs/scale.md, between their marks, to
// the path in IPDC_SCALE. It asserts no figures.
func TestScaleCurves(t *testing.T) {
	out := os.Getenv("IPDC_SCALE")
	if out == "" {
		t.Skip("set IPDC_SCALE to the file to write; make scale does")
	}
	var text strings.Builder
	fmt.Fprintf(&text, scaleHead, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), runtime.Version())
	for _, size := range []simSize{{10, 5000, 1}, {50, 5000, 1}, {200, 1000, 1}, {200, 5000, 1}, {200, 20_000, 1}} {
		row(&text, measure(t, size))
		t.Log(text.String())
	}
	fmt.Fprint(&text, advertHead)
	for _, n := range []int{10, 50, 200} {
		advertRow(t, &text, n)
	}
	old, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(old, []byte(scaleBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(scaleEnd))
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks %q and %q", out, scaleBegin, scaleEnd)
	}
	if t.Failed() {
		return
	}
	whole := string(before) + scaleBegin + "\n" + text.String() + scaleEnd + string(after)
	if err := os.WriteFile(out, []byte(whole), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	scaleBegin = "<!-- made by make scale -->"
	scaleEnd   = "<!-- end of what is made -->"

	scaleHead = `Made by ` + "`make scale`" + ` on %s, %d processors, %s.

| nodes | tasks | bytes local | took, fake clock | of its placement | of equal shares | messages a task | bytes on the bus a task | lists and plans a task | processor a task | heap | rows a task |
|---|---|---|---|---|---|---|---|---|---|---|---|
`
	advertHead = `
| nodes | adverts a node hears in a second, idle | processor for each |
|---|---|---|
`
)

func row(w io.Writer, f figures) {
	fmt.Fprintf(w, "| %d | %d | %.0f %% | %s | %.2f | %.2f | %.1f | %.1f kB | %.1f kB | %.1f ms | %d MB | %.1f kB |\n",
		f.Nodes, f.Tasks, 100*f.Local, f.Makespan.Round(time.Second), float64(f.Makespan)/float64(f.Placed), float64(f.Makespan)/float64(f.Ideal),
		f.Messages, f.Bytes/1e3, f.Control/1e3, float64(f.CPU.Microseconds())/1e3, f.Heap/1e6, f.Rows/1e3)
}

func advert(context.Context) wire.Advert {
	each := wire.Capacity{CPU: 4000, Memory: 16 * jobspec.GiB, Disk: jobspec.GiB << 10}
	return wire.Advert{Version: "1.0.0", Arch: "amd64", Capacity: each, Free: each, Labels: map[string]string{"zone": "x", "region": "y"}}
}

// advertRow measures what it costs to be told of each other.
func advertRow(t *testing.T, w io.Writer, n int) {
	synctest.Test(t, func(t *testing.T) {
		var heard atomic.Int64
		nw := memory.New(memory.Config{Queue: 1 << 14, Faults: func(memory.Message) []time.Duration { heard.Add(1); return []time.Duration{0} }})
		s := &simulation{t: t, net: nw}
		var running sync.WaitGroup
		ctx := t.Context()
		for range n {
			key, err := identity.Generate()
			if err != nil {
				t.Fatal(err)
			}
			post, leave := s.join(key, nil)
			f := members.New(members.Config{Post: post, Self: advert})
			running.Go(func() { _ = post.Run(ctx); leave() })
			running.Go(func() { _ = f.Run(ctx) })
		}
		t.Cleanup(running.Wait)
		const span = 5 * time.Minute
		time.Sleep(time.Minute)
		synctest.Wait()
		heard.Store(0)
		used := processor()
		time.Sleep(span)
		synctest.Wait()
		used = processor() - used
		each := float64(heard.Load())
		fmt.Fprintf(w, "| %d | %.1f | %.0f µs |\n", n, each/float64(n)/span.Seconds(), float64(used.Microseconds())/each)
	})
}
