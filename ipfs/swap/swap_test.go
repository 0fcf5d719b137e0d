package swap_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/internal/p2phost"
	"github.com/ipdc/ipdc/internal/p2phost/p2phosttest"
	"github.com/ipdc/ipdc/internal/testenv"
	"github.com/ipdc/ipdc/ipfs"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/ipfs/kubo"
	"github.com/ipdc/ipdc/ipfs/pack"
	"github.com/ipdc/ipdc/ipfs/swap"
	"github.com/ipdc/ipdc/ipfs/tree"
	"github.com/ipdc/ipdc/jobspec"
)

// newHost returns a host of the tests' domain that is connected to others.
func newHost(t *testing.T, others ...*p2phost.Host) *p2phost.Host {
	t.Helper()
	h := hostWith(t, func(*p2phost.Config) {})
	for _, o := range others {
		if err := h.Connect(t.Context(), o.ID(), o.Listen()); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func hostWith(t *testing.T, configure func(*p2phost.Config)) *p2phost.Host {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	cfg := p2phosttest.Config(key)
	configure(&cfg)
	return p2phosttest.Open(t, cfg)
}

// member is a node with an embedded store.
type member struct {
	*embedded.Node
	host *p2phost.Host
	swap *swap.Swap
}

func newMember(t *testing.T, cfg swap.Config, others ...*p2phost.Host) *member {
	t.Helper()
	return memberOn(t, cfg, newHost(t, others...))
}

func memberOn(t *testing.T, cfg swap.Config, host *p2phost.Host) *member {
	t.Helper()
	m := &member{host: host}
	cfg.Host = m.host
	m.swap = swap.New(cfg)
	t.Cleanup(func() { m.swap.Close() })
	var err error
	if m.Node, err = embedded.Open(t.Context(), embedded.Config{Dir: t.TempDir(), Fetcher: m.swap}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Node.Close() })
	m.swap.Serve(m.Node)
	return m
}

const (
	files    = 40
	fileSize = 100 << 10
	bigSize  = 3 << 20 // more than one block
)

// fill adds a tree of files to a node and returns its root.
func fill(t *testing.T, n ipfs.Node) jobspec.CID {
	t.Helper()
	dir := t.TempDir()
	for i := range files {
		path := filepath.Join(dir, fmt.Sprintf("d%d", i%4), fmt.Sprintf("f%d", i))
		write(t, path, fileSize)
	}
	write(t, filepath.Join(dir, "big"), bigSize)
	root, err := n.Add(t.Context(), "user/x", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(t.Context(), s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func write(t *testing.T, path string, size int) {
	t.Helper()
	data := make([]byte, size)
	rand.Read(data)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A whole DAG comes from a member, is counted by what it is, and comes once.
func TestPinFetches(t *testing.T) {
	a := newMember(t, swap.Config{})
	b := newMember(t, swap.Config{}, a.host)
	root := fill(t, a)
	var moved ipfs.Moved
	ctx := ipfs.CountMoved(t.Context(), &moved)
	if _, err := b.Get(ctx, root); err != nil {
		t.Fatal(err)
	}
	if in := total(b).In; in.Content != 0 || in.Files != 0 || in.Directories == 0 || in.Blocks != 1 {
		t.Errorf("after the root directory alone %+v came in", in)
	}
	if err := b.Pin(ctx, "user/y", root); err != nil {
		t.Fatal(err)
	}
	want, err := a.Verify(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Verify(t.Context(), root)
	if err != nil || got != want {
		t.Errorf("Verify() = %+v, %v; want %+v", got, err, want)
	}
	var in, out swap.Bytes
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		// A block is counted before it is sent, and may still be on its way.
		if in, out = total(b).In, total(a).Out; in == out || time.Now().After(end) {
			break
		}
	}
	const content = files*fileSize + bigSize
	// Bitswap may send a block twice, when its sender is faster than the word
	// that it has come; a block is of 1 MiB.
	spare := want.Bytes/10 + 1<<20
	if in.Content < content || in.Content > content+spare || in.Files == 0 || in.Directories == 0 || in.Blocks < want.Blocks ||
		in.Content+in.Files+in.Directories > want.Bytes+spare {
		t.Errorf("%+v came in, of a DAG of %+v with %d bytes of content", in, want, content)
	}
	if in != out {
		t.Errorf("%+v came in, %+v went out", in, out)
	}
	if _, by := b.swap.Traffic(); by[a.host.ID()].In != in {
		t.Errorf("from the one member came %+v of %+v", by[a.host.ID()].In, in)
	}
	var again ipfs.Moved // in all more may come: what was sent twice
	if err := b.Pin(ipfs.CountMoved(t.Context(), &again), "user/z", root); err != nil {
		t.Fatal(err)
	}
	if bytes, nodes := again.Bytes(); bytes != 0 || nodes != 0 {
		t.Errorf("a second pin moved %d and %d bytes", bytes, nodes)
	}
	bytes, nodes := moved.Bytes()
	if in := total(b).In; bytes < content || bytes > in.Content || nodes == 0 || nodes > in.Files+in.Directories {
		t.Errorf("counted for the caller are %d and %d bytes, in all %+v", bytes, nodes, in)
	}
}

func total(m *member) swap.Traffic { t, _ := m.swap.Traffic(); return t }

// A directory with an empty file in it comes whole.
func TestEmptyFile(t *testing.T) {
	a := newMember(t, swap.Config{})
	b := newMember(t, swap.Config{Wait: time.Hour}, a.host)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty"), 0)
	root, err := a.Add(t.Context(), "user/x", func(s ipfs.Session) (jobspec.CID, error) {
		r, err := pack.Tree(t.Context(), s, dir, pack.Options{})
		return r.CID, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Pin(t.Context(), "user/x", root); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Verify(t.Context(), root); err != nil || got.Blocks != 2 {
		t.Errorf("Verify() = %+v, %v; want 2 blocks", got, err)
	}
	c := newMember(t, swap.Config{Wait: time.Hour}, a.host)
	file, err := tree.Resolve(t.Context(), c, root, []string{"empty"})
	if err != nil {
		t.Fatal(err)
	}
	if data, err := c.Get(t.Context(), file); err != nil || len(data) != 0 {
		t.Errorf("Get() of the empty file = %q, %v", data, err)
	}
}

// What lies on two members comes from both.
func TestPinFromTwo(t *testing.T) {
	a := newMember(t, swap.Config{})
	root := fill(t, a)
	b := newMember(t, swap.Config{}, a.host)
	var parts []jobspec.CID
	for i := range 4 {
		part, err := tree.Resolve(t.Context(), a, root, []string{fmt.Sprintf("d%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
		holder := a
		if i == 1 {
			holder = b
		}
		if err := holder.Pin(t.Context(), "user/part"+fmt.Sprint(i), part); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Unpin(t.Context(), "user/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.GC(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newMember(t, swap.Config{}, a.host, b.host)
	for i, part := range parts {
		if err := c.Pin(t.Context(), "user/part"+fmt.Sprint(i), part); err != nil {
			t.Fatalf("d%d: %v", i, err)
		}
	}
	_, by := c.swap.Traffic()
	if from := by[b.host.ID()].In.Content; from < files/4*fileSize {
		t.Errorf("%d bytes of content came from b, which alone has %d", from, files/4*fileSize)
	}
	if from := by[a.host.ID()].In.Content; from < 3*files/4*fileSize {
		t.Errorf("%d bytes of content came from a, which alone has %d", from, 3*files/4*fileSize)
	}
}

// Nobody has the block and everybody says so: the fetch ends long before its
// time, which is an hour here.
func TestNobodyHas(t *testing.T) {
	wait := swap.Config{Wait: time.Hour}
	a, idle := newMember(t, wait), newHost(t) // idle speaks no bitswap
	b := newMember(t, wait, a.host, idle)
	c, err := jobspec.ParseCID("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy")
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(t.Context(), c)
	if !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(err.Error(), "none of the 2 members") {
		t.Errorf("Get() of what nobody has: %v", err)
	}
	if err := b.Pin(t.Context(), "user/x", c); !errors.Is(err, jobspec.KindFetchTimeout.Error()) {
		t.Errorf("Pin() of what nobody has: %v", err)
	}
	alone := newMember(t, wait)
	if _, err := alone.Get(t.Context(), c); !errors.Is(err, jobspec.KindFetchTimeout.Error()) || !strings.Contains(err.Error(), "no other member") {
		t.Errorf("Get() without members: %v", err)
	}
}

// public is what gateways are: asked after the members.
type public struct{ from ipfs.Node }

func (p public) Block(ctx context.Context, c jobspec.CID) ([]byte, error) { return p.from.Get(ctx, c) }

func (p public) DAG(ctx context.Context, roots []jobspec.CID, put func(jobspec.CID, []byte) error) error {
	for _, c := range roots {
		data, err := p.from.Get(ctx, c)
		if err != nil {
			return err
		}
		if err := put(c, data); err != nil {
			return err
		}
	}
	return nil
}

func TestNextIsAskedForTheRest(t *testing.T) {
	a := newMember(t, swap.Config{})
	outside := newMember(t, swap.Config{})
	b := newMember(t, swap.Config{Wait: time.Hour, Next: public{outside}}, a.host)
	data, c := []byte("public data"), jobspec.CID{}
	c, err := outside.Add(t.Context(), "user/p", func(s ipfs.Session) (jobspec.CID, error) {
		hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
		if err != nil {
			return c, err
		}
		c := jobspec.WrapCID(cid.NewCidV1(cid.Raw, hash))
		return c, s.Put(t.Context(), c, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Pin(t.Context(), "user/p", c); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get(t.Context(), c); err != nil || string(got) != string(data) {
		t.Errorf("Get() = %q, %v", got, err)
	}
}

// A Kubo beside a member: what it has is served, what it lacks comes from the
// members, and its own configuration is as before.
func TestOverKubo(t *testing.T) {
	daemon := testenv.Kubo(t)
	before := daemon.Run("config", "show")
	a := newMember(t, swap.Config{})
	root := fill(t, a)
	host := newHost(t, a.host)
	s := swap.New(swap.Config{Host: host})
	defer s.Close()
	addr, err := kubo.ParseAddr(daemon.API)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := kubo.Open(t.Context(), kubo.Config{Addr: addr, Dir: t.TempDir(), Owner: "swaptest", Fetch: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	s.Serve(inner)
	k := swap.Over(inner, s)
	if _, err := inner.Get(t.Context(), root); err == nil {
		t.Fatal("the Kubo has the data before the test") // the control
	}
	if err := k.Pin(t.Context(), "user/k", root); err != nil {
		t.Fatal(err)
	}
	want, err := a.Verify(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Verify(t.Context(), root); err != nil || got != want {
		t.Errorf("Verify() = %+v, %v; want %+v", got, err, want)
	}
	own := fill(t, k)
	if err := a.Pin(t.Context(), "user/own", own); err != nil {
		t.Errorf("a member gets what the Kubo has: %v", err)
	}
	if after := daemon.Run("config", "show"); after != before {
		t.Error("the configuration of the Kubo has changed")
	}
}

// A fetch that is refused before it begins leaves nothing behind.
func TestRefusedDAGLeavesNothing(t *testing.T) {
	m := newMember(t, swap.Config{})
	sum, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	bad := jobspec.WrapCID(cid.NewCidV1(cid.Raw, sum))
	put := func(jobspec.CID, []byte) error { return nil }
	before := sessions()
	for range 3 {
		if err := m.swap.DAG(t.Context(), []jobspec.CID{bad}, put); !errors.Is(err, jobspec.KindCIDHash.Error()) {
			t.Fatalf("DAG of an untrusted hash = %v, want E_CID_HASH", err)
		}
	}
	for end := time.Now().Add(time.Minute); sessions() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d sessions of bitswap run, %d did before", sessions(), before)
		}
	}
}

// sessions counts the sessions of bitswap that run in this process.
func sessions() int {
	stacks := make([]byte, 16<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "session.(*Session).run(")
}
