package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// qmp is a client of the QEMU Machine Protocol over a socket. Commands are
// executed one at a time, in the order they are called.
type qmp struct {
	conn *net.UnixConn
	done chan struct{} // closed when the reader has ended

	call sync.Mutex // one command under way
	// replies carries the answer to the command under way, events what is
	// waited for; both are closed by the reader.
	replies chan message
	events  chan message
}

// command is one QMP command.
type command struct {
	Execute   string   `json:"execute"`
	Arguments any      `json:"arguments,omitempty"`
	file      *os.File // passed along, borrowed
}

// arguments of a command.
type object map[string]any

// message is anything that QEMU sends.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// maxMessage bounds one message; the longest we ask for are a few KiB.
const maxMessage = 4 << 20

// errClosed says that QEMU closed its control socket, as it does when it ends.
var errClosed = errors.New("control socket closed")

// newQMP takes ownership of conn, waits for the greeting and leaves
// negotiation mode.
func newQMP(ctx context.Context, conn *net.UnixConn) (*qmp, error) {
	q := &qmp{conn: conn, done: make(chan struct{}), replies: make(chan message, 1), events: make(chan message, 64)}
	go q.read()
	if _, err := q.next(ctx, q.replies); err != nil {
		q.close()
		return nil, fmt.Errorf("wait for the QMP greeting: %w", err)
	}
	if err := q.execute(ctx, command{Execute: "qmp_capabilities"}, nil); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// read sorts messages until the socket closes.
func (q *qmp) read() {
	defer close(q.done)
	defer close(q.events)
	defer close(q.replies)
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return // not QEMU
		}
		if m.Event == "" {
			q.replies <- m
			continue
		}
		select {
		case q.events <- m:
		default: // nobody waits for events now
		}
	}
}

func (q *qmp) close() {
	_ = q.conn.Close()
	for range q.replies { // let the reader pass
	}
	<-q.done
}

func (q *qmp) next(ctx context.Context, from <-chan message) (message, error) {
	select {
	case m, ok := <-from:
		if !ok {
			return m, errClosed
		}
		return m, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	}
}

// execute runs a command and decodes what it returns into result, unless that
// is nil. file, when set, is passed along as a descriptor. A command that is
// given up ends the connection: its late answer must not pass for another's.
func (q *qmp) execute(ctx context.Context, c command, result any) error {
	q.call.Lock()
	defer q.call.Unlock()
	m, err := q.roundTrip(ctx, c)
	if err != nil {
		_ = q.conn.Close()
		return fmt.Errorf("%s: %w", c.Execute, err)
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", c.Execute, m.Error.Desc)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("%s: %w", c.Execute, err)
	}
	return nil
}

func (q *qmp) roundTrip(ctx context.Context, c command) (message, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return message{}, err
	}
	var oob []byte
	if c.file != nil {
		oob = unix.UnixRights(int(c.file.Fd()))
	}
	if _, _, err := q.conn.WriteMsgUnix(b, oob, nil); err != nil {
		return message{}, err
	}
	return q.next(ctx, q.replies)
}

// migrate runs a command that starts a migration and waits for its end.
func (q *qmp) migrate(ctx context.Context, c command) error {
	if err := q.execute(ctx, c, nil); err != nil {
		return err
	}
	for {
		m, err := q.next(ctx, q.events)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Execute, err)
		}
		switch migrationStatus(m) {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("%s: QEMU could not do it", c.Execute)
		}
	}
}

func migrationStatus(m message) string {
	var data struct {
		Status string `json:"status"`
	}
	if m.Event != "MIGRATION" || json.Unmarshal(m.Data, &data) != nil {
		return ""
	}
	return data.Status
}
