package dataset_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ipdc/ipdc/bus"
	"github.com/ipdc/ipdc/bus/memory"
	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/ipfs/embedded"
	"github.com/ipdc/ipdc/jobspec"
	"github.com/ipdc/ipdc/sidecar/dataset"
	"github.com/ipdc/ipdc/store"
	"github.com/ipdc/ipdc/wire"
)

// everybody lets any key in.
type everybody struct{}

func (everybody) Check(identity.ID, []byte, time.Time) error { return nil }

func newKey(t testing.TB) identity.Key {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// head is one of logs, of a chain that begins at 1.
func head(key identity.Key, version int) dataset.Head {
	h := dataset.Head{
		Domain: "d", Owner: key.ID(), Name: "logs", ID: strings.Repeat("0", 32), Version: version, Time: 1000 + int64(version), Created: 1000,
		Root: "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354",
	}
	if version > 1 {
		h.Previous = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	}
	return h
}

// seal signs a head.
func seal(t testing.TB, h dataset.Head, key identity.Key) ([]byte, string) {
	t.Helper()
	b, c, err := dataset.Seal(h, key)
	if err != nil {
		t.Fatal(err)
	}
	return b, c.String()
}

// domain is a keeper among members that say what a test wants.
type domain struct {
	t    *testing.T
	net  *memory.Network
	live []identity.ID
}

// join makes the post of a member.
func (d *domain) join(key identity.Key) *bus.Post {
	d.t.Helper()
	m, err := d.net.Join(key.ID())
	if err != nil {
		d.t.Fatal(err)
	}
	p, err := bus.NewPost(m, bus.Config{
		Domain: bus.DomainID(strings.Repeat("a", 26)), Key: key, Roster: everybody{}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Certificate: func() []byte { return nil }, Resend: 100 * time.Millisecond,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { m.Close() })
	return p
}

// listen has a post work until the test ends.
func (d *domain) listen(p *bus.Post) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	d.t.Cleanup(func() { cancel(); <-done })
}

// says makes a member that answers each question with what *heads are then.
func (d *domain) says(key identity.Key, heads *[][]byte) {
	p := d.join(key)
	bus.Answer(p, "dataset-head", func(context.Context, bus.Letter, wire.DatasetAsk) (wire.DatasetHeads, error) {
		return wire.DatasetHeads{Heads: *heads}, nil
	})
	d.listen(p)
	d.live = append(d.live, key.ID())
}

// keeper makes one that asks the members. It has seen nothing.
func (d *domain) keeper() *dataset.Keeper {
	d.t.Helper()
	dir, key := d.t.TempDir(), newKey(d.t)
	st, err := store.Open(d.t.Context(), filepath.Join(dir, "state.db"), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { st.Close() })
	node, err := embedded.Open(d.t.Context(), embedded.Config{Dir: filepath.Join(dir, "ipfs")})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { node.Close() })
	p := d.join(key)
	k := dataset.New(dataset.Config{Key: key, Domain: "d", Shared: tenant, Store: st, IPFS: node, Post: p, Live: func() []identity.ID { return d.live }})
	d.listen(p)
	return k
}

func newDomain(t *testing.T) *domain {
	return &domain{t: t, net: memory.New(memory.Config{})}
}

var logs = jobspec.DatasetRef{Name: "logs"}

// want resolves logs, and expects a version, or with 0 a refusal that says why.
func want(t *testing.T, what string, k *dataset.Keeper, version int, why string) {
	t.Helper()
	v, err := k.Resolve(t.Context(), tenant, logs)
	if version > 0 && (err != nil || v.Version != version) {
		t.Errorf("%s: version %d, %v, want %d", what, v.Version, err, version)
	}
	if version == 0 && (!errors.Is(err, jobspec.KindSignature.Error()) || !strings.Contains(jobspec.AsFailure(err).Detail, why)) {
		t.Errorf("%s: version %d, %v, want E_SIGNATURE with %q", what, v.Version, err, why)
	}
}

// A head that its owner did not sign is refused. What is guarded against would
// be taken without the guard: the same head is, with the signature of its owner
// or from its owner.
func TestForgedHeads(t *testing.T) {
	owner, other := newKey(t), newKey(t)
	good, _ := seal(t, head(owner, 1), owner)
	grown := head(owner, 1)
	grown.Entries = 9
	changed, _ := seal(t, grown, owner)
	bent := []byte(strings.Replace(string(good), "logs", "logz", 1))
	byOther, _ := seal(t, head(owner, 1), other) // names the owner, whose key it lacks
	for what, c := range map[string]struct {
		from     identity.Key
		bad, fix []byte
		why      string
	}{
		"signed by another key": {owner, byOther, good, "not what its owner signed"},
		"changed on the way":    {owner, bent, good, "not what its owner signed"},
		"a head of another":     {other, changed, nil, "it is signed by " + owner.ID().String()},
		"what is no head":       {owner, []byte("{}"), good, "not what its owner signed"},
	} {
		d := newDomain(t)
		said := [][]byte{c.bad}
		d.says(c.from, &said)
		k := d.keeper()
		want(t, what, k, 0, c.why)
		if c.fix == nil { // its owner may send the very same
			d = newDomain(t)
			d.says(owner, &said)
			want(t, what+", guard off", d.keeper(), 1, "")
			continue
		}
		said = [][]byte{c.fix}
		want(t, what+", guard off", k, 1, "")
	}
}

// A head that was the newest is not taken again when a newer one was seen, nor
// one that was not signed in the line of that. Who has seen nothing takes them.
func TestRolledBackHeads(t *testing.T) {
	owner := newKey(t)
	first, firstCID := seal(t, head(owner, 1), owner)
	h := head(owner, 2)
	h.Previous = firstCID
	second, _ := seal(t, h, owner)
	h.Entries = 1
	fork, _ := seal(t, h, owner)
	astray, _ := seal(t, head(owner, 3), owner)
	h = head(owner, 1)
	h.ID = strings.Repeat("1", 32)
	older, _ := seal(t, h, owner)
	for what, c := range map[string]struct {
		bad     []byte
		version int
		why     string
	}{
		"rolled back":      {first, 1, "version 2 has been seen"},
		"two of a version": {fork, 2, "another head of version 2"},
		"out of its line":  {astray, 3, "does not follow"},
		"an earlier one's": {older, 1, "made later has been seen"},
	} {
		d := newDomain(t)
		said := [][]byte{second}
		d.says(owner, &said)
		k := d.keeper()
		want(t, what+", before", k, 2, "")
		said = [][]byte{c.bad}
		want(t, what, k, 0, c.why)
		want(t, what+", guard off", d.keeper(), c.version, "")
		said = [][]byte{second}
		want(t, what+", after", k, 2, "")
	}
}

// A member that lies does so about its own names: the others' stay what they
// are, and names that nobody has can be taken.
func TestLiarBlocksNobody(t *testing.T) {
	owner, liar := newKey(t), newKey(t)
	good, _ := seal(t, head(owner, 1), owner)
	d := newDomain(t)
	said, lie := [][]byte{good}, [][]byte{good}
	d.says(owner, &said)
	d.says(liar, &lie)
	k := d.keeper()
	want(t, "beside a liar", k, 1, "")
	if list, err := k.List(t.Context(), tenant); err != nil || len(list) != 1 || list[0].Owner != owner.ID().String() {
		t.Errorf("List = %+v, %v, want the owner's dataset", list, err)
	}
	said = nil
	if _, err := k.Create(t.Context(), tenant, wire.DatasetWish{Name: "mine"}); err != nil {
		t.Errorf("Create of a name that nobody has: %v", err)
	}
	if v, err := k.Resolve(t.Context(), tenant, jobspec.DatasetRef{Name: "mine"}); err != nil || v.Version != 1 {
		t.Errorf("Resolve = %+v, %v", v, err)
	}
	if _, err := k.Create(t.Context(), tenant, wire.DatasetWish{Name: "logs"}); err != nil {
		t.Errorf("Create of a name that its owner has given up: %v", err)
	}
}

// The name of a member that lies about it is not given to another.
func TestLiarsOwnName(t *testing.T) {
	owner, liar := newKey(t), newKey(t)
	mine, _ := seal(t, head(owner, 1), owner)
	its, _ := seal(t, head(liar, 1), liar)
	d := newDomain(t)
	said, lie := [][]byte{}, [][]byte{its}
	d.says(owner, &said)
	d.says(liar, &lie)
	k := d.keeper()
	want(t, "the only one", k, 1, "")
	said, lie = [][]byte{mine}, [][]byte{mine}
	want(t, "known to be the liar's", k, 0, "it is signed by")
	want(t, "not known to be", d.keeper(), 1, "")
	said = nil
	if _, err := k.Create(t.Context(), tenant, wire.DatasetWish{Name: "logs"}); !errors.Is(err, jobspec.KindSignature.Error()) {
		t.Errorf("Create of a name that is a liar's: %v, want E_SIGNATURE", err)
	}
}

// The ids of a name are those of a tenant's own dataset and of members'. A head
// that cannot be read tells of none, and hides no other.
func TestIDs(t *testing.T) {
	b := newBench(t, t.TempDir())
	_, err := b.Create(t.Context(), tenant, wire.DatasetWish{Name: "logs"})
	if err != nil {
		t.Fatal(err)
	}
	made, err := b.Resolve(t.Context(), tenant, logs)
	if err != nil {
		t.Fatal(err)
	}
	member, other := newKey(t), newKey(t)
	sealed, _ := seal(t, head(member, 1), member)
	err = b.st.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.PutDatasetSeen(store.DatasetSeen{Owner: member.ID(), Name: "logs", Sealed: sealed}),
			tx.PutDatasetSeen(store.DatasetSeen{Owner: other.ID(), Name: "logs", Sealed: sealed[1:]}))
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := []string{strings.Repeat("0", 32)}
	for who, want := range map[string]map[identity.ID][]string{
		tenant: {b.key.ID(): {made.ID}, member.ID(): seen}, "another": {member.ID(): seen}, "": nil,
	} {
		if got, err := b.IDs(t.Context(), who, "logs"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("IDs of %q = %v, %v, want %v", who, got, err, want)
		}
	}
}
