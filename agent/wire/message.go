package wire

import (
	"encoding/json"
	"fmt"

	"thaw"
)

// Type is the type of a message. The numbers are part of the format.
type Type uint8

const (
	TypeSync       Type = 1
	TypeSyncAck    Type = 2
	TypeResume     Type = 3
	TypeResumed    Type = 4
	TypeInit       Type = 5
	TypeInitDone   Type = 6
	TypeInitFailed Type = 7
	TypeQuiesce    Type = 8
	TypeQuiesced   Type = 9
	TypeInvoke     Type = 10
	TypeResult     Type = 11
	TypeLog        Type = 12
	TypePing       Type = 13
	TypePong       Type = 14
	TypeFatal      Type = 15
	TypeOpen       Type = 16
	TypeHead       Type = 17
	TypeData       Type = 18
	TypeTrailer    Type = 19
	TypeWindow     Type = 20
	TypeReset      Type = 21
	TypeSecrets    Type = 22
	TypeGiven      Type = 23
	TypePrimed     Type = 24
	TypeSettled    Type = 25
)

// String returns the name of t in lower case.
func (t Type) String() string {
	names := [...]string{"", "sync", "syncack", "resume", "resumed", "init", "initdone", "initfailed",
		"quiesce", "quiesced", "invoke", "result", "log", "ping", "pong", "fatal",
		"open", "head", "data", "trailer", "window", "reset", "secrets", "given", "primed", "settled"}
	if t == 0 || int(t) >= len(names) {
		return fmt.Sprintf("type %d", uint8(t))
	}
	return names[t]
}

// The bounds in bytes of strings inside messages.
const (
	// EntropyLen is the seed that Resume carries: 512 bits, twice what the
	// kernel's generator keeps (random(4), 256 bits).
	EntropyLen = 64
	// MaxID bounds request ids and instance ids; 64 is the longest hostname
	// (gethostname(2), HOST_NAME_MAX), which an instance id becomes.
	MaxID = 64
	// MaxLine is the longest log line. A longer one is sent in pieces.
	MaxLine = 64 << 10
)

// Message is the JSON part of a frame, a pointer to one of the types below.
type Message interface{ Type() Type }

// Sync begins a session; host to guest. The guest forgets the session before
// it and answers with SyncAck.
type Sync struct{}

// SyncAck answers Sync.
type SyncAck struct {
	// Messages is the agent's [MessageVersion]; one that says nothing has 1.
	Messages uint64
}

// Resume tells a guest that begins to run, from power on or from a snapshot,
// what it cannot know; host to guest. The raw part is EntropyLen random bytes.
type Resume struct {
	// WallNS is the host's real-time clock in nanoseconds since 1970.
	WallNS     int64
	InstanceID string
}

// Resumed answers Resume with what was done and seen.
type Resumed struct {
	InstanceID string
	// ClockErrorNS is the guest's clock minus the clock it should show, read
	// back after it was set.
	ClockErrorNS int64
	// WallNS is the guest's real-time clock when this was sent.
	WallNS int64
	// Reseeded says that the kernel took the entropy and made new keys of it.
	Reseeded bool
	// Sample is 16 bytes from the kernel's generator after that, in hex. Two
	// instances never show the same.
	Sample string
	// Error is not empty when something failed; the instance must not serve.
	Error string
}

// Init starts the function's runtime; host to guest.
type Init struct {
	Function string       `json:"function"`
	Version  int          `json:"version"`
	Runtime  thaw.Runtime `json:"runtime"`
	Handler  string       `json:"handler"`
	// Command is what to execute, by words; none is the runtime's own program.
	Command []string `json:"command,omitempty"`
	// Protocol is how to speak to what is executed; "" is that of Lambda.
	Protocol  thaw.Protocol     `json:"protocol,omitempty"`
	Env       map[string]string `json:"env"`
	MemoryMiB int               `json:"memory_mib"`
	// TimeoutMS is the function's timeout, named in the timeout's message.
	TimeoutMS int64 `json:"timeout_ms"`
	// SnapStart says that a snapshot will be taken when Init is done.
	SnapStart bool `json:"snap_start"`
	// Prime says that invocations come before that, until Primed.
	Prime bool `json:"prime,omitempty"`
	// Concurrency is how many requests the host may have under way; 0 is one.
	Concurrency int `json:"concurrency,omitempty"`
	// Container is set where the root disk is an OCI image and has the function,
	// and Command with it. There is no code disk then.
	Container *Container `json:"container,omitempty"`
}

// Container is what an OCI image says of how it is run, see [thaw.Container].
type Container struct {
	Env              map[string]string `json:"env,omitempty"`
	WorkingDirectory string            `json:"working_directory"`
	User             string            `json:"user,omitempty"`
}

// InitDone answers Init: the runtime waits for work, or for the snapshot.
type InitDone struct{}

// InitFailed answers Init: the function cannot start. The guest is of no
// further use.
type InitFailed struct{ thaw.FunctionError }

// Primed says that the invocations before the snapshot are over; host to guest. It
// follows an Init that has announced them.
type Primed struct{}

// Settled answers Primed: the runtime waits where the snapshot can be taken. A
// Type that is not empty says that it has failed on the way there; the guest is of
// no further use then.
type Settled struct{ thaw.FunctionError }

// Quiesce asks the guest to settle for a snapshot; host to guest.
type Quiesce struct{}

// Quiesced answers Quiesce. After it the guest sends nothing until a Sync.
type Quiesced struct {
	Error string
}

// Invoke is one invocation; host to guest. The raw part is the event.
type Invoke struct {
	RequestID string
	// DeadlineMS is the deadline in milliseconds since 1970, for the function.
	DeadlineMS int64
	// RemainingMS is the time until the deadline, which the agent enforces
	// by its monotonic clock.
	RemainingMS   int64
	TraceID       string
	ClientContext string
}

// Result answers Invoke. The raw part is the function's reply, or its error
// object when FunctionError is set.
type Result struct {
	RequestID     string
	FunctionError string
	// Finished says that the runtime is gone, or busy for good, and that the guest is
	// to be given no further request.
	Finished bool
	// Unserved says that the runtime had ended before it was given the invocation,
	// which may be served by another guest.
	Unserved bool
	// Refused is not empty when the agent did not take the invocation, which
	// is a mistake of the host and no failure of the function.
	Refused string
}

// Log is one line the function wrote; guest to host. The raw part is the text
// without its line end, at most MaxLine bytes, not necessarily UTF-8.
type Log struct {
	RequestID string
	// Stream is stdout, stderr or platform.
	Stream string
	UnixNS int64
}

// Ping asks whether the agent lives; host to guest.
type Ping struct {
	Nonce uint64
}

// Pong answers Ping with its nonce.
type Pong struct {
	Nonce uint64
}

// Secrets gives a guest that begins to run what its function must find as files; host
// to guest, before Resume. The raw part are the secrets, see [AppendSecret]. A guest
// that becomes a snapshot never gets any.
type Secrets struct{}

// Given answers Secrets.
type Given struct {
	Error string
}

// Fatal says that the guest cannot go on; guest to host.
type Fatal struct {
	Message string
}

func (*Sync) Type() Type       { return TypeSync }
func (*SyncAck) Type() Type    { return TypeSyncAck }
func (*Resume) Type() Type     { return TypeResume }
func (*Resumed) Type() Type    { return TypeResumed }
func (*Init) Type() Type       { return TypeInit }
func (*InitDone) Type() Type   { return TypeInitDone }
func (*InitFailed) Type() Type { return TypeInitFailed }
func (*Quiesce) Type() Type    { return TypeQuiesce }
func (*Quiesced) Type() Type   { return TypeQuiesced }
func (*Invoke) Type() Type     { return TypeInvoke }
func (*Result) Type() Type     { return TypeResult }
func (*Log) Type() Type        { return TypeLog }
func (*Ping) Type() Type       { return TypePing }
func (*Pong) Type() Type       { return TypePong }
func (*Fatal) Type() Type      { return TypeFatal }
func (*Secrets) Type() Type    { return TypeSecrets }
func (*Given) Type() Type      { return TypeGiven }
func (*Primed) Type() Type     { return TypePrimed }
func (*Settled) Type() Type    { return TypeSettled }

func (*Sync) fields() []field { return nil }
func (m *SyncAck) fields() []field {
	return []field{{"messages", &m.Messages}}
}
func (m *Resume) fields() []field {
	return []field{{"wall_ns", &m.WallNS}, {"instance_id", &m.InstanceID}}
}
func (m *Resumed) fields() []field {
	return []field{
		{"instance_id", &m.InstanceID}, {"clock_error_ns", &m.ClockErrorNS}, {"wall_ns", &m.WallNS},
		{"reseeded", &m.Reseeded}, {"sample", &m.Sample}, {"error", &m.Error},
	}
}
func (*InitDone) fields() []field   { return nil }
func (*Primed) fields() []field     { return nil }
func (*Quiesce) fields() []field    { return nil }
func (m *Quiesced) fields() []field { return []field{{"error", &m.Error}} }
func (m *Invoke) fields() []field {
	return []field{
		{"request_id", &m.RequestID}, {"deadline_ms", &m.DeadlineMS}, {"remaining_ms", &m.RemainingMS},
		{"trace_id", &m.TraceID}, {"client_context", &m.ClientContext},
	}
}
func (m *Result) fields() []field {
	return []field{
		{"request_id", &m.RequestID}, {"function_error", &m.FunctionError},
		{"finished", &m.Finished}, {"unserved", &m.Unserved}, {"refused", &m.Refused},
	}
}
func (m *Log) fields() []field {
	return []field{{"request_id", &m.RequestID}, {"stream", &m.Stream}, {"unix_ns", &m.UnixNS}}
}
func (m *Ping) fields() []field  { return []field{{"nonce", &m.Nonce}} }
func (m *Pong) fields() []field  { return []field{{"nonce", &m.Nonce}} }
func (m *Fatal) fields() []field { return []field{{"message", &m.Message}} }
func (*Secrets) fields() []field { return nil }
func (m *Given) fields() []field { return []field{{"error", &m.Error}} }

// New returns the frame that carries m and raw in a session. It keeps raw.
func New(session uint64, m Message, raw []byte) (Frame, error) {
	f := Frame{Type: m.Type(), Session: session, Raw: raw}
	if fm, ok := m.(flat); ok {
		f.JSON = appendFlat(nil, fm.fields())
		return f, f.check()
	}
	b, err := json.Marshal(m)
	if err != nil {
		return Frame{}, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	f.JSON = b
	return f, f.check()
}

// Decode parses the frame's JSON part into m, of the type that f.Type names.
func (f Frame) Decode(m Message) (err error) {
	if fm, ok := m.(flat); ok {
		err = parseFlat(f.JSON, fm.fields())
	} else {
		err = json.Unmarshal(f.JSON, m)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", f.Type, err)
	}
	return nil
}

// CheckID returns an error unless id has 1 to MaxID letters, digits and
// hyphens: fit for a header, a file and a hostname.
func CheckID(id string) error {
	if id == "" || len(id) > MaxID {
		return fmt.Errorf("id has %d bytes, not 1 to %d", len(id), MaxID)
	}
	for _, c := range []byte(id) {
		if c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("id %q holds a byte other than letters, digits and -", id)
		}
	}
	return nil
}
