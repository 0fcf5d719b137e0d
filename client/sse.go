package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// maxMessage bounds one server-sent event in bytes.
const maxMessage = 1 << 20

// message is one server-sent event.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
type message struct {
	id    string
	event string
	data  []byte
}

// sse reads server-sent events. alive is called for each line, heartbeats
// included.
type sse struct {
	in    *bufio.Reader
	alive func()
}

func newSSE(r io.Reader, alive func()) *sse { return &sse{bufio.NewReader(r), alive} }

// next returns the next message. At the end of the stream it returns io.EOF
// or what cut it; a message that is not whole is dropped.
func (s *sse) next() (message, error) {
	var m message
	var size int
	for {
		line, err := s.line()
		if err != nil {
			return message{}, err
		}
		s.alive()
		if size += len(line); size > maxMessage {
			return message{}, fmt.Errorf("event of more than %d bytes", maxMessage)
		}
		if len(line) == 0 {
			if m.event == "" && m.data == nil {
				size = 0
				continue
			}
			return m, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			m.id = string(value)
		case "event":
			m.event = string(value)
		case "data":
			if m.data != nil {
				m.data = append(m.data, '\n')
			}
			m.data = append(m.data, value...)
		}
	}
}

// line returns the next whole line without its end.
func (s *sse) line() ([]byte, error) {
	var long []byte
	for {
		part, err := s.in.ReadSlice('\n')
		long = append(long, part...)
		if err == nil {
			return bytes.TrimRight(long, "\r\n"), nil
		}
		if err != bufio.ErrBufferFull {
			return nil, err
		}
		if len(long) > maxMessage {
			return nil, fmt.Errorf("line of more than %d bytes", maxMessage)
		}
	}
}
