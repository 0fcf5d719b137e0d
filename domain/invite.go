package domain

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/ipdc/ipdc/identity"
)

const (
	invitesFile    = "invites"
	invitesVersion = 1
	// maxInvites bounds the codes that are open or were used lately.
	maxInvites    = 1000
	maxInvitesLen = 2 << 20 // bytes of the file
	// DefaultExpiry and MaxExpiry are how long an invitation holds.
	DefaultExpiry = 24 * time.Hour
	MaxExpiry     = 30 * 24 * time.Hour
	// answerKept is how long after its expiry a used code still gives its one
	// user the same answer.
	answerKept = 7 * 24 * time.Hour
)

// InviteOptions says what an invitation allows.
type InviteOptions struct {
	Role    Role          // zero: RoleMember
	Expires time.Duration // zero: DefaultExpiry
	Addrs   []Addr        // where this node's door listens; 1 to 8
}

// invites is the file "invites". It only grows by Invite and use, so that a
// code which was used once is never open again.
type invites struct {
	V      int          `cbor:"v"`
	Counts int          `cbor:"let_in"` // nodes that were ever let in
	List   []invitation `cbor:"list"`
}

type invitation struct {
	Code        []byte      `cbor:"code"` // its hash
	Role        Role        `cbor:"role"`
	Expiry      time.Time   `cbor:"expiry"`
	UsedBy      identity.ID `cbor:"used_by,omitempty"`
	Certificate []byte      `cbor:"certificate,omitempty"` // what UsedBy got
}

func (f Files) invites(id ID) (invites, error) {
	v := invites{V: invitesVersion, List: []invitation{}}
	err := readPrivate(f.path(id, invitesFile), maxInvitesLen, &v)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil && v.V != invitesVersion {
		err = fmt.Errorf("version %d, known is %d", v.V, invitesVersion)
	}
	if err != nil {
		err = refuse("remove it: its invitations hold no more then, and new ones can be made",
			"%s: %v", f.path(id, invitesFile), err)
	}
	return v, err
}

// letIn is how many nodes this one has let into a domain.
func (f Files) letIn(id ID) (int, error) {
	v, err := f.invites(id)
	return v.Counts, err
}

// Expects reports whether anybody may come to this node's door now: a newcomer
// with an invitation that is neither spent nor over, or somebody whom it has let
// in, for the domain's newest secret. Nobody else knows where the door is.
func (f Files) Expects(m Membership, now time.Time) (bool, error) {
	if !m.CanInvite() {
		return false, nil
	}
	v, err := f.invites(m.ID())
	open := func(i invitation) bool { return i.UsedBy == "" && !now.After(i.Expiry) }
	return v.Counts > 0 || slices.ContainsFunc(v.List, open), err
}

// InvitesStamp changes when an invitation is made or spent, and with the domain.
// It reads a few bytes only, so that a node may ask each second.
func (f Files) InvitesStamp() (string, error) {
	id, err := f.current()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(f.path(id, invitesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id.String(), nil
	}
	if err != nil {
		return "", fmt.Errorf("read invitations: %w", err)
	}
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino // every change is a new file
	}
	return fmt.Sprint(id, inode, info.ModTime().UnixNano()), nil
}

// Invite makes an invitation that one newcomer may use once. key is the node's.
func (f Files) Invite(key identity.Key, o InviteOptions, now time.Time) (Token, error) {
	unlock, err := f.lock()
	if err != nil {
		return Token{}, err
	}
	defer unlock()
	m, err := f.Load()
	if err != nil {
		return Token{}, err
	}
	o, err = o.check(m)
	if err != nil {
		return Token{}, err
	}
	t := Token{
		Name: m.Name, Admin: m.Admin, Issuer: key.ID(), Addrs: o.Addrs, door: m.door,
		Expiry: now.UTC().Add(o.Expires).Truncate(time.Second), code: make([]byte, codeBytes),
	}
	rand.Read(t.code)
	v, err := f.invites(m.ID())
	if err != nil {
		return Token{}, err
	}
	v.List = slices.DeleteFunc(v.List, func(i invitation) bool { return now.After(i.Expiry.Add(answerKept)) })
	if len(v.List) >= maxInvites {
		return Token{}, refuse("wait until some have expired, or give new ones a shorter --expires", "%d invitations are open or were used lately, at most %d are kept", len(v.List), maxInvites)
	}
	v.List = append(v.List, invitation{Code: codeHash(t.code), Role: o.Role, Expiry: t.Expiry})
	return t.sign(key), f.write(f.path(m.ID(), ""), invitesFile, seal(v))
}

func (o InviteOptions) check(m Membership) (InviteOptions, error) {
	if o.Role == "" {
		o.Role = RoleMember
	}
	if o.Expires == 0 {
		o.Expires = DefaultExpiry
	}
	switch {
	case !m.CanInvite():
		return o, refuse("ask an admin of the domain, or be let in with: ipdc domain invite --admin", "this node is a member of domain %s and may not invite", m.Name)
	case o.Role == RoleAdmin && !m.IsAdmin:
		return o, refuse("run it on the node on which the domain was created", "inviting an admin takes the admin key of domain %s, which is not on this node", m.Name)
	case o.Role != RoleAdmin && o.Role != RoleMember:
		return o, fmt.Errorf("unknown role %q", o.Role)
	case o.Expires < time.Minute || o.Expires > MaxExpiry:
		return o, fmt.Errorf("an invitation holds for %s to %s, not %s", time.Minute, MaxExpiry, o.Expires)
	case len(o.Addrs) == 0:
		return o, refuse("start the node, which opens a door for newcomers: ipdc node start -d", "this node listens nowhere that an invitation could name")
	}
	var err error
	o.Addrs, err = parseAddrs(texts(o.Addrs), MaxTokenAddrs)
	return o, err
}

// use lets peer in by a code: the code is spent and the certificate issued in
// one write. The same peer with the same code gets the same certificate again,
// as its first answer may have been lost.
func (f Files) use(ctx context.Context, key identity.Key, peer identity.ID, code []byte, now time.Time) (Membership, []byte, error) {
	if err := f.known(code); err != nil {
		return Membership{}, nil, err
	}
	unlock, err := f.lockWithin(ctx, lockWait)
	if err != nil {
		return Membership{}, nil, internal(err)
	}
	defer unlock()
	m, err := f.Load()
	if err != nil {
		return m, nil, internal(err)
	}
	v, err := f.invites(m.ID())
	if err != nil {
		return m, nil, internal(err)
	}
	i := v.find(code)
	if i < 0 {
		return m, nil, errNoCode
	}
	inv := &v.List[i]
	if err := inv.open(m, peer, now); err != nil {
		return m, nil, err
	}
	if inv.UsedBy == peer {
		return m, inv.Certificate, nil
	}
	iss, err := f.issuer(m, key)
	if err != nil {
		return m, nil, internal(err)
	}
	inv.UsedBy, inv.Certificate = peer, iss.issue(m.ID(), peer, inv.Role, now)
	v.Counts++
	return m, inv.Certificate, internal(f.write(f.path(m.ID(), ""), invitesFile, seal(v)))
}

// known refuses a code that nobody gave out before anything is locked for it,
// so that who makes up codes keeps nobody from changing the domain.
func (f Files) known(code []byte) error {
	m, err := f.Load()
	if err != nil {
		return internal(err)
	}
	v, err := f.invites(m.ID())
	if err != nil {
		return internal(err)
	}
	if v.find(code) < 0 {
		return errNoCode
	}
	return nil
}

// find returns the index of the invitation with a code, or -1.
func (v invites) find(code []byte) int {
	hash := codeHash(code)
	return slices.IndexFunc(v.List, func(i invitation) bool { return bytes.Equal(i.Code, hash) })
}

// errNoCode is a code that was never given out, or was forgotten.
var errNoCode = refuse("ask for a new one: ipdc domain invite", "this invitation is unknown here")

// open reports why peer may not use the invitation.
func (i invitation) open(m Membership, peer identity.ID, now time.Time) error {
	if at, ok := m.List.revoked(peer); ok {
		return refuse("give the node a new identity and a new invitation", "%s was revoked on %s", peer, at.UTC().Format(time.RFC3339))
	}
	switch {
	case i.UsedBy == peer:
		return nil
	case i.UsedBy != "":
		return refuse("each node needs an invitation of its own; if that was none of yours: ipdc domain revoke "+i.UsedBy.String(), "this invitation was used by %s", i.UsedBy)
	case now.After(i.Expiry):
		return refuse("ask for a new one: ipdc domain invite", "this invitation has ended on %s", i.Expiry.UTC().Format(time.RFC3339))
	case i.Role == RoleAdmin && !m.IsAdmin:
		return refuse("", "the admin key of domain %s is not on this node", m.Name)
	}
	return nil
}

// issuer returns with what this node may sign certificates.
func (f Files) issuer(m Membership, key identity.Key) (issuer, error) {
	if m.IsAdmin {
		admin, err := identity.Load(f.path(m.ID(), adminFile))
		return issuer{key: admin}, err
	}
	if !m.CanInvite() {
		return issuer{}, refuse("ask an admin of the domain", "this node may let nobody into domain %s", m.Name)
	}
	return issuer{key: key, cert: m.rawChain, till: m.Certificate.NotAfter}, nil
}
