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
// executed one at a time, in the order they are called. QEMU reads them byte by
// byte, some microseconds each (monitor_can_read in monitor/monitor.c), and the
// next one once it has answered: they should be short.
type qmp struct {
	conn *net.UnixConn
	done chan struct{} // closed when the reader has ended

	call sync.Mutex // held while commands are under way
	// replies carries the answers to the commands under way, migrations what a
	// migration comes to; both are closed by the reader.
	replies    chan message
	migrations chan string
	lastID     int // of a command; the caller holds call
}

// command is one QMP command.
type command struct {
	ID        int      `json:"id"`
	Execute   string   `json:"execute"`
	Arguments any      `json:"arguments,omitempty"`
	file      *os.File // passed along, borrowed
}

// arguments of a command.
type object map[string]any

// message is anything that QEMU sends.
type message struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// underWay is how many commands may be sent ahead of their answers.
const underWay = 8

// maxMessage bounds one message; the longest we ask for are a few KiB.
const maxMessage = 4 << 20

// errNotQEMU says that the peer does not keep to the protocol.
var errNotQEMU = errors.New("the peer does not speak QMP")

// errClosed says that QEMU closed its control socket, as it does when it ends.
var errClosed = errors.New("control socket closed")

// newQMP takes ownership of conn, waits for the greeting and leaves
// negotiation mode.
func newQMP(ctx context.Context, conn *net.UnixConn) (*qmp, error) {
	q := &qmp{conn: conn, done: make(chan struct{}), replies: make(chan message, underWay), migrations: make(chan string, 16)}
	go q.read()
	greeting, err := next(ctx, q.replies)
	if err == nil && greeting.QMP == nil {
		err = errNotQEMU
	}
	if err != nil {
		q.close()
		return nil, fmt.Errorf("wait for the QMP greeting: %w", err)
	}
	if err := q.execute(ctx, command{Execute: "qmp_capabilities"}, nil); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

// read sorts messages until the socket closes. Of the events only those of
// migrations are kept: a guest can cause any number of others.
func (q *qmp) read() {
	defer close(q.done)
	defer close(q.migrations)
	defer close(q.replies)
	lines := bufio.NewScanner(q.conn)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		var m message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			return // not QEMU
		}
		if m.Event == "" {
			select {
			case q.replies <- m:
				continue
			default:
				return // nobody asked
			}
		}
		if status := migrationStatus(m); status != "" {
			select {
			case q.migrations <- status:
			default: // nobody migrates
			}
		}
	}
}

func (q *qmp) close() {
	_ = q.conn.Close()
	for range q.replies { // let the reader pass
	}
	<-q.done
}

// next takes one thing from a channel of the reader.
func next[T any](ctx context.Context, from <-chan T) (t T, err error) {
	select {
	case t, ok := <-from:
		if !ok {
			return t, errClosed
		}
		return t, nil
	case <-ctx.Done():
		return t, context.Cause(ctx)
	}
}

// execute runs a command and decodes what it returns into result, unless that is
// nil. A command that is given up ends the connection: its late answer must not
// pass for another's.
func (q *qmp) execute(ctx context.Context, c command, result any) error {
	return q.executeAll(ctx, result, c)
}

// executeAll sends commands, at most [underWay], and then waits for their answers,
// of which result gets the last. It returns the first error, having run them all.
func (q *qmp) executeAll(ctx context.Context, result any, commands ...command) (err error) {
	q.call.Lock()
	defer q.call.Unlock()
	for i := range commands {
		if err := q.send(&commands[i]); err != nil {
			return q.giveUp(commands[i], err)
		}
	}
	var last message
	for _, c := range commands {
		m, e := q.answer(ctx, c)
		if e != nil {
			return q.giveUp(c, e)
		}
		if last = m; m.Error != nil && err == nil {
			err = fmt.Errorf("%s: %s", c.Execute, m.Error.Desc)
		}
	}
	if err != nil || result == nil {
		return err
	}
	if err := json.Unmarshal(last.Return, result); err != nil {
		return fmt.Errorf("%s: %w", commands[len(commands)-1].Execute, err)
	}
	return nil
}

func (q *qmp) giveUp(c command, err error) error {
	_ = q.conn.Close()
	return fmt.Errorf("%s: %w", c.Execute, err)
}

// send numbers a command and writes it, its file as a descriptor beside it. A
// message of its own each, or the descriptor would not be the command's.
func (q *qmp) send(c *command) error {
	q.lastID++
	c.ID = q.lastID
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var oob []byte
	if c.file != nil {
		oob = unix.UnixRights(int(c.file.Fd()))
	}
	_, _, err = q.conn.WriteMsgUnix(b, oob, nil)
	return err
}

func (q *qmp) answer(ctx context.Context, c command) (message, error) {
	m, err := next(ctx, q.replies)
	if err == nil && m.ID != c.ID {
		err = errNotQEMU
	}
	return m, err
}

// migrate runs a command that starts a migration and waits for its end.
func (q *qmp) migrate(ctx context.Context, c command) error {
	for len(q.migrations) > 0 {
		<-q.migrations // of an earlier one
	}
	if err := q.execute(ctx, c, nil); err != nil {
		return err
	}
	for {
		status, err := next(ctx, q.migrations)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Execute, err)
		}
		switch status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("%s: %s", c.Execute, q.whyFailed(ctx))
		}
	}
}

// whyFailed asks what was wrong with the last migration.
func (q *qmp) whyFailed(ctx context.Context) string {
	var info struct {
		Desc string `json:"error-desc"`
	}
	if err := q.execute(ctx, command{Execute: "query-migrate"}, &info); err != nil || info.Desc == "" {
		return "QEMU failed and does not say why; its console may"
	}
	return info.Desc
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
