package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/p2p"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/wire"
)

// traitor is a member of a node's domain, with secret and certificate, that
// keeps to no rule: it says whatever the test likes. To what is asked of it as
// an owner it answers as one.
type traitor struct {
	t      *testing.T
	victim *node
	host   *p2phost.Host
	ipfs   *embedded.Node
	post   *bus.Post
	ends   chan wire.Outcome // what the victim reports of what it was told to run
	heard  sync.Map          // attempts of which a report came
	tries  int
}

// trusting is a roster that has everybody.
type trusting struct{}

func (trusting) Check(identity.ID, []byte, time.Time) error { return nil }

func newTraitor(t *testing.T, victim *node) *traitor {
	t.Helper()
	newcomer := victim.idle()
	newcomer.ok("domain", "join", victim.ok("domain", "invite"))
	s := newcomer.state()
	r := &traitor{t: t, victim: victim, ends: make(chan wire.Outcome, 16)}
	var err error
	if r.host, err = p2phost.Open(t.Context(), p2phost.Config{Domain: s.domain, Key: s.key, PSK: s.psk, Guard: s, Listen: []string{loopback}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.host.Close() })
	if err := r.host.Connect(t.Context(), identity.ID(victim.peerID()), []string{"/ip4/127.0.0.1/tcp/" + victim.listens()[len("127.0.0.1:"):]}); err != nil {
		t.Fatal(err)
	}
	b, err := p2p.Open(p2p.Config{Host: r.host})
	if err != nil {
		t.Fatal(err)
	}
	blocks := swap.New(swap.Config{Host: r.host})
	if r.ipfs, err = embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir(), Fetcher: blocks}); err != nil {
		t.Fatal(err)
	}
	blocks.Serve(r.ipfs)
	r.post, err = bus.NewPost(b, bus.Config{
		Domain: bus.DomainID(s.domain), Key: s.key, Roster: trusting{}, Certificate: func() []byte { return s.proof },
	})
	if err != nil {
		t.Fatal(err)
	}
	bus.Answer(r.post, "beat", func(context.Context, bus.Letter, wire.Beat) (wire.Beating, error) { return wire.Beating{}, nil })
	bus.Answer(r.post, "report", r.hear)
	var running sync.WaitGroup
	running.Go(func() { _ = r.post.Run(context.WithoutCancel(t.Context())) })
	t.Cleanup(func() { b.Close(); running.Wait(); blocks.Close(); r.ipfs.Close() })
	return r
}

// hear takes a report, once: the victim sends it again when the answer is late.
func (r *traitor) hear(ctx context.Context, _ bus.Letter, p wire.Report) (wire.Reported, error) {
	var out wire.Outcome
	if err := json.Unmarshal(r.read(ctx, p.Outcome), &out); err != nil {
		return wire.Reported{}, err
	}
	if _, again := r.heard.LoadOrStore(p.Attempt, true); !again {
		select {
		case r.ends <- out:
		default:
		}
	}
	return wire.Reported{Taken: true}, nil
}

// ended waits for the next report.
func (r *traitor) ended() wire.Outcome {
	r.t.Helper()
	select {
	case out := <-r.ends:
		return out
	case <-time.After(patience):
		r.t.Fatalf("no report in %s; node log:\n%s", patience, r.victim.log)
		return wire.Outcome{}
	}
}

func (r *traitor) id() identity.ID { return identity.ID(r.victim.peerID()) }

// read returns a file that some member holds.
func (r *traitor) read(ctx context.Context, c jobspec.CID) []byte {
	var b bytes.Buffer
	if _, err := tree.Copy(ctx, r.ipfs, c, &b, ipfs.Budget{}); err != nil {
		r.t.Errorf("read %s: %v", c, err)
	}
	return b.Bytes()
}

// file returns the text of a file of a task's output.
func (r *traitor) file(out wire.Outcome, name string) string {
	r.t.Helper()
	if out.Receipt == nil {
		r.t.Fatalf("nothing was run: %+v", out.Failure)
	}
	c, err := tree.Resolve(r.t.Context(), r.ipfs, out.Receipt.Output, []string{name})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(r.read(r.t.Context(), c))
}

// store keeps text as a file for others to read.
func (r *traitor) store(text []byte) jobspec.CID {
	r.t.Helper()
	c, err := r.ipfs.Add(r.t.Context(), "file", func(s ipfs.Session) (jobspec.CID, error) {
		c, _, err := pack.File(r.t.Context(), s, bytes.NewReader(text))
		return c, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// work is an order as an honest owner would make it, for a shell command.
func (r *traitor) work(script string, change ...func(*jobspec.Spec)) wire.Work {
	r.t.Helper()
	spec := jobspec.Spec{Version: jobspec.Version, Run: jobspec.Run{Image: "shell", Command: []string{"sh", "-c", script}}}
	for _, f := range change {
		f(&spec)
	}
	spec = spec.WithDefaults()
	c, err := spec.CID()
	if err != nil {
		r.t.Fatal(err)
	}
	img := r.victim.image("shell")
	plan, err := jobspec.NewPlan(spec, jobspec.Facts{SpecCID: c, Image: img.ID, Arch: img.Arch, Slots: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return wire.Work{Spec: spec, Plan: plan}
}

// assigns gives the victim an order, by its text.
func (r *traitor) assigns(work []byte) error {
	r.t.Helper()
	r.tries++
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	_, err := bus.Request[wire.Assigned](ctx, r.post, r.id(), "assign", wire.Assign{
		Attempt: fmt.Sprintf("%s-0-1", jobspec.NewJobID(time.Now())), Token: strings.Repeat("0", 32),
		Lease: jobspec.Duration(time.Minute), Work: r.store(work),
	})
	return err
}

func (r *traitor) orders(w wire.Work) error {
	r.t.Helper()
	text, err := json.Marshal(w)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.assigns(text)
}

// isDropped sends a message and waits until the victim has counted it as
// dropped for a reason.
func (r *traitor) isDropped(why string, typ bus.Type, body any) {
	r.t.Helper()
	line := fmt.Sprintf("ipdc_bus_dropped_total{why=%q}", why)
	before := r.victim.metric(line)
	if err := r.post.Send(r.t.Context(), r.id(), typ, body); err != nil {
		r.t.Fatal(err)
	}
	r.victim.await(fmt.Sprintf("message %s to be dropped as %s", typ, why), 20*time.Second, func() bool { return r.victim.metric(line) > before })
}

// image describes a stock image of a node.
func (n *node) image(name string) (img wire.Image) {
	n.t.Helper()
	if err := json.Unmarshal([]byte(n.ok("image", "build", name, "-o", "json")), &img); err != nil {
		n.t.Fatal(err)
	}
	return img
}
