package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"time"

	"thaw"
	"thaw/gateway/api"
)

const (
	// lineTimeout is how long a client may take to read one line of progress.
	lineTimeout = 30 * time.Second
	// maxPartHeaders bounds what surrounds the two parts of a deploy.
	maxPartHeaders = 64 << 10
)

// deploy reads settings and code and replies with a line per event. An error
// before the first event has its own status; a later one is the last line.
func (h handlers) deploy(w http.ResponseWriter, r *http.Request) error {
	if err := thaw.CheckName(r.PathValue("name")); err != nil {
		return err // a deploy makes the version that a qualifier would name
	}
	detach, err := wantsDetach(r)
	if err != nil {
		return err
	}
	conn := http.NewResponseController(w)
	// Events are sent while code is still being read. A writer that can do
	// neither this nor deadlines is that of a test.
	_ = conn.EnableFullDuplex()
	_ = conn.SetReadDeadline(time.Now().Add(stallTime))
	body := r.Body
	r.Body = http.MaxBytesReader(w, body, api.MaxImage+api.MaxSettings+maxPartHeaders)
	settings, code, err := readDeploy(r)
	if err != nil {
		drain(conn, body)
		return err
	}
	up := startUpload(conn, code, body)
	out := &progress{w: w, conn: conn}
	err = h.deployWith(r, detach, settings, up, out)
	up.close()
	if err != nil {
		return h.failLate(r, out, err)
	}
	return nil
}

// failLate makes err the last line of a reply that has begun. Otherwise it returns
// err, which has a status of its own then.
func (h handlers) failLate(r *http.Request, out *progress, err error) error {
	if !out.started() {
		return err
	}
	out.line(api.ErrorLine{Error: api.Error{Code: h.mappingOf(err).Code, Message: h.message(r, err)}})
	return nil
}

// readDeploy reads the settings of a deploy and returns its code as a stream of
// as many bytes as code or an image may have, which ends when r's body does. A
// deploy of an image in a registry needs no code.
func readDeploy(r *http.Request) (thaw.Settings, io.Reader, error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return thaw.Settings{}, nil, thaw.Errorf(thaw.CodeInvalid, "a deploy is multipart/form-data with the parts %s and %s: %w", api.PartSettings, api.PartCode, err)
	}
	part, err := nextPart(parts, api.PartSettings)
	if err != nil {
		return thaw.Settings{}, nil, err
	}
	settings, err := readSettings(part)
	if err != nil {
		return thaw.Settings{}, nil, err
	}
	part, err = nextPart(parts, api.PartCode)
	switch {
	case errors.Is(err, errPartMissing) && settings.Image != nil && !settings.Image.Uploaded:
		return settings, strings.NewReader(""), nil
	case err != nil:
		return thaw.Settings{}, nil, err
	case settings.Image != nil:
		return settings, limitCode(part, api.MaxImage), nil
	}
	return settings, limitCode(part, api.MaxCode), nil
}

var errPartMissing = errors.New("there is nothing more")

func nextPart(parts *multipart.Reader, name string) (*multipart.Part, error) {
	part, err := parts.NextRawPart()
	if errors.Is(err, io.EOF) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "part %s of the deploy is missing: send %s, then %s: %w", name, api.PartSettings, api.PartCode, errPartMissing)
	}
	if err != nil {
		return nil, bodyError("read part "+name+" of the deploy", err)
	}
	if part.FormName() != name {
		return nil, thaw.Errorf(thaw.CodeInvalid, "a part of the deploy is called %s where %s is due: send %s, then %s", printable(part.FormName()), name, api.PartSettings, api.PartCode)
	}
	return part, nil
}

// readSettings reads one JSON object and nothing else, and returns it with
// defaults and checked.
func readSettings(r io.Reader) (thaw.Settings, error) {
	var s thaw.Settings
	raw, err := io.ReadAll(io.LimitReader(r, api.MaxSettings+1))
	if err != nil {
		return s, bodyError("read the settings", err)
	}
	if len(raw) > api.MaxSettings {
		return s, thaw.Errorf(thaw.CodeTooLarge, "the settings are larger than %d bytes", api.MaxSettings)
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return s, thaw.Errorf(thaw.CodeInvalid, "the settings cannot be read: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return s, thaw.Errorf(thaw.CodeInvalid, "something follows the settings: send one JSON object")
	}
	s = s.WithDefaults()
	return s, s.Validate()
}

// bodyError is an error of reading a body: too much of it, or a client that
// stopped sending.
func bodyError(verb string, err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return codeTooLarge(e.Limit)
	}
	return thaw.Errorf(thaw.CodeInvalid, "%s: %w", verb, err)
}

func codeTooLarge(limit int64) error {
	return thaw.Errorf(thaw.CodeTooLarge, "the code is larger than %d MiB: leave out what the function does not need", limit>>20)
}

// progress writes a reply line by line. Errors of writing are those of a client
// that is gone, which ends the request's context.
type progress struct {
	conn *http.ResponseController

	mu     sync.Mutex
	w      http.ResponseWriter
	wrote  bool
	result bool // a line carried the version
}

func (p *progress) started() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrote
}

func (p *progress) event(e thaw.DeployEvent) { p.line(api.DeployLine{DeployEvent: e}) }

func (p *progress) line(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a line is always plain data
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start()
	if l, ok := v.(api.DeployLine); ok && l.Version != nil {
		p.result = true
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(lineTimeout))
	_, _ = p.w.Write(append(raw, '\n'))
	_ = p.conn.Flush()
	_ = p.conn.SetWriteDeadline(time.Time{})
}

// finish makes sure that the version is in the last line.
func (p *progress) finish(v thaw.Version) {
	p.mu.Lock()
	done := p.result
	p.mu.Unlock()
	if !done {
		p.event(thaw.DeployEvent{Step: "activate", Message: "the new version serves", Version: &v})
	}
}

// start sets the headers. The caller holds mu.
func (p *progress) start() {
	if !p.wrote {
		p.w.Header().Set("Content-Type", api.TypeNDJSON)
		p.w.Header().Set("Cache-Control", "no-store")
		p.wrote = true
	}
}

// begin sends the headers, though there may be no line for a long time.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start()
	_ = p.conn.Flush()
}
