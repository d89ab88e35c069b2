package agent

import (
	"errors"
	"fmt"

	"thaw/agent/wire"
)

// addStream gives x a number of its own.
func (c *Conn) addStream(x *exchange) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.messages < 2 {
		return errors.New("the guest's agent is of an earlier release, which cannot stream: deploy the function again")
	}
	c.lastStream++
	x.id = c.lastStream
	c.streams[x.id] = x
	return nil
}

func (c *Conn) removeStream(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, x.id)
}

// stream hands f to the exchange that it belongs to. A guest that does not keep to the
// rules is of no further use.
func (c *Conn) stream(f wire.Frame) {
	id, err := streamOf(f)
	if err == nil {
		c.mu.Lock()
		x := c.streams[id]
		c.mu.Unlock()
		if x != nil { // else it crossed the end on its way
			err = x.receive(f)
		}
	}
	if err != nil {
		c.fail(fmt.Errorf("%w: it breaks the rules of streams: %w", ErrGone, err))
	}
}

// streamOf reads the number that every message of a stream has.
func streamOf(f wire.Frame) (uint64, error) {
	var m wire.Head
	err := f.Decode(&m)
	return m.Stream, err
}

// receive takes in one frame.
func (x *exchange) receive(f wire.Frame) error {
	switch f.Type {
	case wire.TypeHead:
		return x.receiveHead(f.Raw)
	case wire.TypeData:
		return x.receiveData(f)
	case wire.TypeTrailer:
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(f.Raw) > wire.MaxHead || x.trailer != nil {
			return errors.New("trailers that cannot be")
		}
		x.trailer = f.Raw
	case wire.TypeWindow:
		var m wire.Window
		if err := f.Decode(&m); err != nil {
			return err
		}
		return x.credit.Add(m.Bytes)
	case wire.TypeReset:
		var m wire.Reset
		if err := f.Decode(&m); err != nil {
			return err
		}
		x.end(&resetError{m}, true)
	}
	return nil
}

func (x *exchange) receiveHead(head []byte) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.headed {
		return errors.New("a second head")
	}
	x.headed = true
	x.head <- head // has room
	return nil
}

func (x *exchange) receiveData(f wire.Frame) error {
	var m wire.Data
	if err := f.Decode(&m); err != nil {
		return err
	}
	x.mu.Lock()
	headed := x.headed
	x.mu.Unlock()
	if !headed || len(f.Raw) > wire.MaxData || len(f.Raw) == 0 && !m.End {
		return fmt.Errorf("data of %d bytes, head sent: %t", len(f.Raw), headed)
	}
	if err := x.in.Put(f.Raw); err != nil {
		return err
	}
	if m.End {
		x.end(nil, true)
	}
	return nil
}
