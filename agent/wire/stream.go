package wire

// The bounds of a stream in bytes.
const (
	// MaxData is the most that one Data carries: what a guest's port takes in one
	// write.
	MaxData = 32 << 10
	// StreamWindow is how much each side may send of a stream before it has been
	// granted more, and how much of it the other side therefore has to keep: at
	// 1 ms there and back, enough for 128 MB/s.
	StreamWindow = 128 << 10
	// MaxHead bounds the head of a request or a reply, and trailers.
	MaxHead = 64 << 10
)

// Open begins a stream: a request to a function that is an HTTP server; host to
// guest. The raw part is the request's head as the server gets it (RFC 9112): the
// request line and the headers, each with its line end, and the empty line.
type Open struct {
	// Stream names the stream from now on. The host never uses a number twice in a
	// session.
	Stream    uint64
	RequestID string
	// RemainingMS is the time until the deadline, which the agent enforces by its
	// monotonic clock.
	RemainingMS int64
	// Body says that the request's body follows in Data; without it there is none.
	Body bool
	// Chunked says that the head announces the chunked coding: the agent makes a
	// chunk of each Data.
	Chunked bool
}

// Head is the head of the reply, once and before any Data of it; guest to host. The
// raw part is the status line and the headers, as in Open.
type Head struct{ Stream uint64 }

// Data is a piece of the request's or of the reply's body, without any transfer
// coding. The raw part is 1 to MaxData bytes, or none with End. Each byte uses up
// credit: see Window.
type Data struct {
	Stream uint64
	// End says that this is the last one. The guest's End ends the stream.
	End bool
}

// Trailer holds the headers that came behind the reply's body, before the End;
// guest to host. The raw part is lines as in a head.
type Trailer struct{ Stream uint64 }

// Window grants the other side credit for Bytes more of Data, on top of what it
// has. Credit begins at StreamWindow.
type Window struct {
	Stream uint64
	Bytes  int64
}

// Reset ends a stream at once. From the host: nobody waits for the reply any more,
// and the agent closes the connection to the server. From the guest: there is no
// reply, or no end of it.
type Reset struct {
	Stream uint64
	// ErrorType and Message say what the function did wrong; guest to host.
	ErrorType string
	Message   string
	// Finished says that the guest is to be given no further request.
	Finished bool
	// Refused is not empty when the agent did not take the request, which is a
	// mistake of the host and no failure of the function.
	Refused string
}

func (*Open) Type() Type    { return TypeOpen }
func (*Head) Type() Type    { return TypeHead }
func (*Data) Type() Type    { return TypeData }
func (*Trailer) Type() Type { return TypeTrailer }
func (*Window) Type() Type  { return TypeWindow }
func (*Reset) Type() Type   { return TypeReset }

func (m *Open) fields() []field {
	return []field{
		{"stream", &m.Stream}, {"request_id", &m.RequestID}, {"remaining_ms", &m.RemainingMS},
		{"body", &m.Body}, {"chunked", &m.Chunked},
	}
}
func (m *Head) fields() []field    { return []field{{"stream", &m.Stream}} }
func (m *Data) fields() []field    { return []field{{"stream", &m.Stream}, {"end", &m.End}} }
func (m *Trailer) fields() []field { return []field{{"stream", &m.Stream}} }
func (m *Window) fields() []field {
	return []field{{"stream", &m.Stream}, {"bytes", &m.Bytes}}
}
func (m *Reset) fields() []field {
	return []field{
		{"stream", &m.Stream}, {"error_type", &m.ErrorType}, {"message", &m.Message},
		{"finished", &m.Finished}, {"refused", &m.Refused},
	}
}
