package p2phost

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/record"
	ma "github.com/multiformats/go-multiaddr"
)

// maxBook bounds the members that are remembered, maxRecord the signed
// addresses of one.
const (
	maxBook   = 4096
	maxRecord = 4 << 10
)

// book remembers members: what they showed, and the addresses that they signed
// themselves. Who is in it may be dialled.
type book struct {
	host    *Host
	mu      sync.Mutex
	members map[peer.ID]*member
	allowed map[peer.ID]int // named by the caller, each for the time of a call
}

type member struct {
	hello  []byte
	record []byte       // envelope of a peer record; nil until one came
	seq    uint64       // of record
	last   ma.Multiaddr // by which it was reached; nil = not by us
	next   time.Time
	pause  time.Duration // before next, doubled with each try in vain
}

func newBook(h *Host) *book {
	return &book{host: h, members: map[peer.ID]*member{}, allowed: map[peer.ID]int{}}
}

// admit notes a member by what it showed on a connection.
func (b *book) admit(p peer.ID, hello []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entry(p).hello = hello
}

// entry returns the member p. The lock is held.
func (b *book) entry(p peer.ID) *member {
	m := b.members[p]
	if m == nil {
		if len(b.members) >= maxBook {
			b.dropOne()
		}
		m = &member{}
		b.members[p] = m
	}
	return m
}

// dropOne makes room by a member that is not connected.
func (b *book) dropOne() {
	for p := range b.members {
		if len(b.host.inner.Network().ConnsToPeer(p)) == 0 {
			delete(b.members, p)
			return
		}
	}
}

func (b *book) forget(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, p)
}

func (b *book) hello(p peer.ID) ([]byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.members[p]
	if m == nil {
		return nil, false
	}
	return m.hello, true
}

func (b *book) hellos() map[peer.ID][]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[peer.ID][]byte, len(b.members))
	for p, m := range b.members {
		all[p] = m.hello
	}
	return all
}

// allow lets peers be dialled until the returned function is called.
func (b *book) allow(peers ...peer.ID) (undo func()) {
	add := func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, p := range peers {
			if b.allowed[p] += n; b.allowed[p] == 0 {
				delete(b.allowed, p)
			}
		}
	}
	add(1)
	return func() { add(-1) }
}

func (b *book) dialable(p peer.ID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.members[p] != nil || b.allowed[p] > 0
}

// entry of an exchange and of a saved book: what a member showed, and the
// addresses that it signed.
type listed struct {
	Hello  []byte `cbor:"1,keyasint"`
	Record []byte `cbor:"2,keyasint"`
}

// listMode reads lists of strangers' making: nothing but what listed has.
var listMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxArrayElements: maxBook, MaxMapPairs: 16, MaxNestedLevels: 4, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// list encodes members in any order, as many as limit bytes hold.
func (b *book) list(limit int) []byte {
	b.mu.Lock()
	var all []listed
	for _, m := range b.members {
		if m.record != nil {
			all = append(all, listed{m.hello, m.record})
		}
	}
	b.mu.Unlock()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	const perEntry = 16 // bytes around an entry's two strings
	size := perEntry
	for i, e := range all {
		if size += len(e.Hello) + len(e.Record) + perEntry; size > limit {
			all = all[:i]
			break
		}
	}
	out, err := cbor.Marshal(all)
	if err != nil {
		return nil // byte strings always encode
	}
	return out
}

// learn takes members from a list, each only with a certificate that the
// guard accepts and addresses signed by itself. It returns how many are new
// or have new addresses.
func (b *book) learn(data []byte) (news int, err error) {
	var all []listed
	if err := listMode.Unmarshal(data, &all); err != nil {
		return 0, err
	}
	for _, e := range all {
		if len(e.Hello) > maxHello || len(e.Record) > maxRecord {
			continue
		}
		env, rec, err := record.ConsumeEnvelope(e.Record, peer.PeerRecordEnvelopeDomain)
		if err != nil {
			continue
		}
		r, ok := rec.(*peer.PeerRecord)
		if !ok || !r.PeerID.MatchesPublicKey(env.PublicKey) || r.PeerID == b.host.inner.ID() {
			continue
		}
		if b.host.cfg.Guard.Check(name(r.PeerID), e.Hello) != nil {
			continue
		}
		if b.note(r, e.Record, e.Hello) {
			news++
		}
	}
	return news, nil
}

// note keeps a newer record of a member.
func (b *book) note(r *peer.PeerRecord, envelope, hello []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.members[r.PeerID]; old != nil && old.record != nil && old.seq >= r.Seq {
		return false
	}
	m := b.entry(r.PeerID)
	if m.hello == nil {
		m.hello = hello
	}
	m.record, m.seq, m.next, m.pause = bytes.Clone(envelope), r.Seq, time.Time{}, 0
	return true
}

// load is learn for the book of an earlier run.
func (b *book) load(data []byte) {
	if len(data) == 0 {
		return
	}
	n, err := b.learn(data)
	if err != nil {
		b.host.log.Warn("addresses of members are damaged; they are learned again from whoever connects", "err", err)
		return
	}
	b.host.log.Debug("members known from before", "members", n)
}

// due returns members that are to be dialled now, in any order, and notes that they are.
func (b *book) due(now time.Time, connected func(peer.ID) bool) []peer.AddrInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []peer.AddrInfo
	for _, p := range slices.Collect(maps.Keys(b.members)) {
		m := b.members[p]
		if m.record == nil || now.Before(m.next) || connected(p) {
			continue
		}
		m.pause = min(max(2*m.pause, firstPause), lastPause)
		m.next = now.Add(m.pause/2 + rand.N(m.pause))
		list = append(list, peer.AddrInfo{ID: p, Addrs: m.addrs()})
	}
	return list
}

// addrs returns the addresses that a member signed, and the one by which it was
// reached: a name that it signed may not be resolved today. The lock is held.
func (m *member) addrs() (list []ma.Multiaddr) {
	_, rec, err := record.ConsumeEnvelope(m.record, peer.PeerRecordEnvelopeDomain)
	if r, ok := rec.(*peer.PeerRecord); err == nil && ok {
		list = r.Addrs
	}
	if m.last != nil {
		list = append(list, m.last)
	}
	return list
}

// tellAddrs gives libp2p the addresses of a member that is not connected.
func (b *book) tellAddrs(p peer.ID) {
	if b.host.inner.Network().Connectedness(p) != network.NotConnected {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.members[p]; m != nil && m.record != nil {
		b.host.inner.Peerstore().AddAddrs(p, m.addrs(), peerstore.TempAddrTTL)
	}
}

// Between two tries to reach a member.
const (
	firstPause = 5 * time.Second
	lastPause  = 10 * time.Minute
)

// reachedBy notes the address of a member that we dialled.
func (b *book) reachedBy(p peer.ID, addr ma.Multiaddr) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.members[p]; m != nil {
		m.last = addr
	}
}

// reached makes the next try, after a loss, come at once.
func (b *book) reached(p peer.ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.members[p]; m != nil {
		m.next, m.pause = time.Time{}, 0
	}
}

// Book returns the members that are known, to be given to Config.Book at the
// next start: at most 4 MiB.
func (h *Host) Book() []byte { return h.book.list(4 << 20) }
