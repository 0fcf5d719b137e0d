package domain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/ipdc/ipdc/identity"
)

// maxMembers and maxDoors bound the addresses that are kept.
const (
	maxMembers = 64
	maxDoors   = 64
)

// Membership is what a node knows of the domain that it is in. All of it lies
// in one file, so that secret, list and certificate always fit together.
type Membership struct {
	Name        Name
	Admin       identity.ID // whose signature makes members
	Node        identity.ID // this node
	List        List        // generation and who was revoked
	Certificate Certificate // this node's own
	Addrs       []Addr      // where other members were last known to be
	Doors       []Addr      // where doors were last known to be, each with /p2p/ID
	IsAdmin     bool        // the domain's admin key lies here

	secret, door      Secret
	rawList, rawChain []byte
}

// ID returns the domain's id.
func (m Membership) ID() ID { return NewID(m.Name, m.Admin) }

// PSK returns the pre-shared key of the domain's network in this generation.
func (m Membership) PSK() Secret { return m.secret.psk(m.ID(), m.List.Generation) }

// DoorPSK returns the pre-shared key of the doors at which newcomers and those
// that slept through a rotation ask. It is the same in all generations.
func (m Membership) DoorPSK() Secret { return m.door.doorPSK(m.ID()) }

// KuboPSK returns the swarm.key of Kubos that belong to the domain, in this
// generation. It leads to no other key: a Kubo asks for no certificate, so it
// must not have that of the members' own network.
func (m Membership) KuboPSK() Secret { return m.secret.kuboPSK(m.ID(), m.List.Generation) }

// Proof returns this node's certificate as it is shown to others.
func (m Membership) Proof() []byte { return bytes.Clone(m.rawChain) }

// Roster returns who belongs to the domain.
func (m Membership) Roster() (*Roster, error) { return NewRoster(m.ID(), m.Admin, m.rawList) }

// CanInvite reports whether this node may let others in.
func (m Membership) CanInvite() bool { return m.IsAdmin || m.Certificate.Role == RoleAdmin }

// String leaves the secrets out.
func (m Membership) String() string {
	return fmt.Sprintf("domain %s (%s), generation %d", m.Name, m.ID(), m.List.Generation)
}

// Format writes m without its secrets, whatever the verb.
func (m Membership) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// membershipRecord is the file "membership".
type membershipRecord struct {
	V           int         `cbor:"v"`
	Name        string      `cbor:"name"`
	Admin       identity.ID `cbor:"admin"`
	Node        identity.ID `cbor:"node"`
	Secret      []byte      `cbor:"secret"`
	Door        []byte      `cbor:"door"`
	List        []byte      `cbor:"list"`
	Certificate []byte      `cbor:"certificate"`
	Addrs       []string    `cbor:"addrs"`
	Doors       []string    `cbor:"doors"`
}

const (
	membershipVersion = 1
	maxMembership     = maxList + 128<<10
)

func (m Membership) record() membershipRecord {
	return membershipRecord{
		V: membershipVersion, Name: string(m.Name), Admin: m.Admin, Node: m.Node, Secret: m.secret[:], Door: m.door[:],
		List: m.rawList, Certificate: m.rawChain, Addrs: texts(m.Addrs), Doors: texts(m.Doors),
	}
}

// membership checks that everything in r belongs together.
func (r membershipRecord) membership() (m Membership, err error) {
	if r.V != membershipVersion {
		return m, fmt.Errorf("version %d, known is %d", r.V, membershipVersion)
	}
	m = Membership{Admin: r.Admin, Node: r.Node, rawList: r.List, rawChain: r.Certificate}
	if m.Name, err = ParseName(r.Name); err != nil {
		return m, err
	}
	if m.List, err = readList(r.List, m.ID(), m.Admin); err != nil {
		return m, err
	}
	if m.secret, err = secretOf(r.Secret, m.List); err != nil {
		return m, err
	}
	var ok bool
	if m.door, ok = secretFrom(r.Door); !ok {
		return m, fmt.Errorf("door key of %d bytes", len(r.Door))
	}
	ch, err := readChain(r.Certificate, m.ID(), m.Admin)
	if err != nil {
		return m, err
	}
	if m.Certificate = ch[0]; m.Certificate.Subject != m.Node {
		return m, fmt.Errorf("certificate of %s, node is %s", m.Certificate.Subject, m.Node)
	}
	if m.Addrs, err = parseAddrs(r.Addrs, maxMembers); err != nil {
		return m, err
	}
	m.Doors, err = parseAddrs(r.Doors, maxDoors)
	return m, err
}

// secretOf reads the secret that belongs to a list.
func secretOf(b []byte, l List) (Secret, error) {
	s, ok := secretFrom(b)
	if !ok || !bytes.Equal(s.hash(), l.Secret) {
		return Secret{}, fmt.Errorf("secret is not the one that the domain's admin signed for generation %d", l.Generation)
	}
	return s, nil
}

// found makes a domain of one member, whose admin key is given.
func found(name Name, admin identity.Key, node identity.ID, now time.Time) (Membership, error) {
	r := membershipRecord{V: membershipVersion, Name: string(name), Admin: admin.ID(), Node: node, Addrs: []string{}, Doors: []string{}}
	id := NewID(name, admin.ID())
	secret, door := NewSecret(), NewSecret()
	list, err := List{Domain: id}.next(secret, now)
	if err != nil {
		return Membership{}, err
	}
	r.Secret, r.Door = secret[:], door[:]
	r.List = sign(admin, listPurpose, list)
	r.Certificate = issuer{key: admin}.issue(id, node, RoleAdmin, now)
	m, err := r.membership()
	m.IsAdmin = true
	return m, err
}

// The files of a domain begin with a line that has the hash of the rest, so
// that damage shows before anything is believed.
const fileMagic = "ipdc-domain-v1 "

func seal(v any) []byte {
	body := encode(v)
	sum := sha256.Sum256(body)
	return append([]byte(fileMagic+hex.EncodeToString(sum[:])+"\n"), body...)
}

func unseal(b []byte, limit int, v any) error {
	head, body, _ := bytes.Cut(b, []byte("\n"))
	sum := sha256.Sum256(body)
	if string(head) != fileMagic+hex.EncodeToString(sum[:]) {
		return fmt.Errorf("its content is not what its first line says")
	}
	return decode(body, limit, v)
}
