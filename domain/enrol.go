package domain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ipdc/ipdc/identity"
	"github.com/ipdc/ipdc/jobspec"
)

// Protocol is what a [Door] speaks, with a domain's id before it.
//
// One request, one answer, each a length of 4 bytes and canonical CBOR. The
// stream is encrypted and its ends are authenticated by whoever made it; to open
// one takes the door's pre-shared key.
const Protocol = "enrol/1"

const (
	enrolVersion = 1
	maxRequest   = 4 << 10
	maxAnswer    = maxMembership
	// enrolTimeout bounds one request with its answer.
	enrolTimeout = 30 * time.Second
)

// request is what comes to a door: a code, to be let in, or a certificate, to
// get the newest secret.
type request struct {
	V           int    `cbor:"v"`
	Domain      ID     `cbor:"domain"`
	Code        []byte `cbor:"code,omitempty"`
	Certificate []byte `cbor:"certificate,omitempty"`
}

// answer is a grant or a refusal.
type answer struct {
	V       int      `cbor:"v"`
	Grant   *grant   `cbor:"grant,omitempty"`
	Refusal *refusal `cbor:"refusal,omitempty"`
}

// grant is what makes a member. Nothing of it is believed: the certificate goes
// back to the admin key, which the invitation named, and that key signed the
// list, which has the secret's hash.
type grant struct {
	Certificate []byte   `cbor:"certificate"`
	Secret      []byte   `cbor:"secret"`
	List        []byte   `cbor:"list"`
	Addrs       []string `cbor:"addrs"`
	Doors       []string `cbor:"doors"`
}

type refusal struct {
	Kind   jobspec.Kind `cbor:"kind"`
	Detail string       `cbor:"detail"`
	Hint   string       `cbor:"hint,omitempty"`
}

// maxWords bounds the texts of a refusal, in bytes.
const maxWords = 1000

func newRefusal(err error) *refusal {
	f := jobspec.AsFailure(err)
	if f.Kind != jobspec.KindPNet && f.Kind != jobspec.KindLimit {
		f = jobspec.Failure{Kind: jobspec.KindInternal, Detail: "the member could not do its part; its log says why"}
	}
	return &refusal{Kind: f.Kind, Detail: cut(f.Detail), Hint: cut(f.Hint)}
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxWords)], "") }

// internal is err without its kind: what is wrong with this node's own files is
// for its log and not for strangers.
func internal(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(err.Error())
}

// error is the refusal of a peer, as its words.
func (r refusal) error(peer identity.ID) error {
	kind := r.Kind
	if kind != jobspec.KindLimit && kind != jobspec.KindInternal {
		kind = jobspec.KindPNet
	}
	return jobspec.Failure{Kind: kind, Where: "member " + peer.String(), Detail: cut(r.Detail), Hint: cut(r.Hint)}.Error()
}

func writeMessage(w io.Writer, v any) error {
	b := encode(v)
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// readMessage reads one message of at most limit bytes. A length that says more
// is refused before anything is read or allocated for it.
func readMessage(r io.Reader, limit int, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > uint32(limit) {
		return fmt.Errorf("message of %d bytes, 1 to %d are possible", n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read message: %w", err)
	}
	if err := decode(b, limit, v); err != nil {
		return fmt.Errorf("message %w", err)
	}
	return nil
}
