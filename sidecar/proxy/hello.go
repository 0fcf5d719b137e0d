package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
)

// firstFlight reads what a program sends and looks at its beginning. A TLS
// hello must be for the granted name: machines that serve many names choose
// among them by it, so another name there would reach another host. Servers
// pass over a warning in front of it and over its record's version, so here
// nothing of TLS may stand in front, and the version is not looked at. Whatever
// does not begin as TLS passes unread, and so does a hello without a name.
type firstFlight struct {
	r       *bufio.Reader
	host    string
	refused func(error)
	checked bool
}

func (f *firstFlight) Read(b []byte) (int, error) {
	if !f.checked {
		f.checked = true
		if err := f.check(); err != nil {
			f.refused(err)
			return 0, err
		}
	}
	return f.r.Read(b)
}

// What TLS records begin with, and their sizes: RFC 8446, section 5.1.
const (
	recordChange    = 0x14
	recordAlert     = 0x15
	recordHandshake = 0x16
	recordData      = 0x17
	recordHeader    = 5
	recordMax       = 1 << 14
)

func (f *firstFlight) check() error {
	if _, err := netip.ParseAddr(f.host); err == nil {
		return nil // an address serves whom it serves
	}
	first, err := f.r.Peek(1)
	if err != nil {
		return nil // it comes back with the next read
	}
	switch first[0] {
	case recordHandshake:
		return f.checkHello()
	case recordChange, recordAlert, recordData:
		return denied{fmt.Errorf("the first byte is %#x, a TLS record that is no hello; TLS to %s begins with one", first[0], f.host)}
	}
	return nil
}

func (f *firstFlight) checkHello() error {
	head, err := f.r.Peek(recordHeader)
	if err != nil {
		return nil // so little is no hello
	}
	size := int(head[3])<<8 | int(head[4])
	if size > recordMax {
		return denied{fmt.Errorf("the TLS hello has a record of %d bytes", size)}
	}
	record := make([]byte, recordHeader+size)
	if _, err := io.ReadFull(f.r, record); err != nil {
		return err
	}
	f.r = bufio.NewReader(io.MultiReader(bytes.NewReader(record), f.r))
	name, err := serverName(record)
	if err != nil {
		return denied{err}
	}
	if name != "" && !strings.EqualFold(strings.TrimSuffix(name, "."), f.host) {
		return denied{fmt.Errorf("the TLS hello is for %s, granted is %s", name, f.host)}
	}
	return nil
}

// serverName returns the name in a ClientHello that is whole in one record.
func serverName(record []byte) (name string, err error) {
	found := errors.New("found")
	err = tls.Server(replay{r: bytes.NewReader(record)}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name = h.ServerName
			return nil, found
		},
	}).Handshake()
	if !errors.Is(err, found) {
		return "", errors.New("the TLS hello cannot be read")
	}
	return name, nil
}

// replay is a connection that gives some bytes and takes any.
type replay struct {
	net.Conn // nil: nothing else is called
	r        io.Reader
}

func (c replay) Read(b []byte) (int, error)  { return c.r.Read(b) }
func (c replay) Write(b []byte) (int, error) { return len(b), nil }
