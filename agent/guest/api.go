package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"

	"thaw"
)

// maxError bounds an error a runtime reports about its init, which travels as
// JSON.
const maxError = 256 << 10

// maxErrorType bounds an error's type in bytes.
const maxErrorType = 256

// maxDiscard is how much of a reply over the limit is read, so that the runtime
// gets to read the refusal.
const maxDiscard = 64 << 20

// api is the Runtime API's server ("Using the Lambda runtime API for custom
// runtimes", Lambda developer guide, and its OpenAPI file, 2018-06-01).
type api struct {
	fn       *function
	listener net.Listener
	server   *http.Server
}

// newAPI listens; serve answers.
func newAPI(addr string, fn *function) (*api, error) {
	// Keep-alive probes would be timers that fire for nothing.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp4", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the runtime: %w", err)
	}
	a := &api{fn: fn, listener: l}
	a.server = &http.Server{Handler: a.routes(), ErrorLog: log.New(io.Discard, "", 0)}
	return a, nil
}

func (a *api) addr() string { return a.listener.Addr().String() }

// serve returns after close, which is its only error.
func (a *api) serve() { _ = a.server.Serve(a.listener) }

func (a *api) close() {
	a.server.Close()
	a.listener.Close() // in case serve has not begun
}

func (a *api) routes() *http.ServeMux {
	const root = "/2018-06-01/runtime/"
	m := http.NewServeMux()
	m.HandleFunc("GET "+root+"invocation/next", a.next)
	m.HandleFunc("POST "+root+"invocation/{id}/response", a.response)
	m.HandleFunc("POST "+root+"invocation/{id}/error", a.invocationError)
	m.HandleFunc("POST "+root+"init/error", a.initError)
	m.HandleFunc("GET "+root+"restore/next", a.restoreNext)
	m.HandleFunc("POST "+root+"restore/error", a.restoreError)
	return m
}

// next blocks until there is work. For a runtime that does not know
// restore/next this is where the snapshot is taken.
func (a *api) next(w http.ResponseWriter, r *http.Request) {
	if a.fn.working() {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "The invocation before has not been answered")
		return
	}
	a.fn.isReady()
	for {
		select {
		case inv := <-a.fn.work:
			a.fn.logs.drain()
			if a.fn.take(inv) {
				a.event(w, inv)
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (a *api) event(w http.ResponseWriter, inv *invocation) {
	h := w.Header()
	h.Set("Lambda-Runtime-Aws-Request-Id", inv.RequestID)
	h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.DeadlineMS, 10))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", functionARN(a.fn.init))
	if inv.TraceID != "" {
		h.Set("Lambda-Runtime-Trace-Id", inv.TraceID)
	}
	if inv.ClientContext != "" {
		h.Set("Lambda-Runtime-Client-Context", inv.ClientContext)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(inv.payload)))
	_, _ = w.Write(inv.payload) // a runtime that died is seen by watch
	inv.payload = nil
}

func (a *api) response(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !a.fn.answering(id) {
		refuseID(w)
		return
	}
	body, err := readBody(r, thaw.MaxPayload)
	switch {
	case errors.Is(err, errTooBig):
		a.tooBig(w, id)
	case err != nil:
		refuse(w, http.StatusBadRequest, "InvalidRequest", err.Error())
	case a.fn.complete(id, "", body):
		accept(w)
	default:
		refuseID(w)
	}
}

// tooBig ends the invocation with an error and lets the runtime go on.
func (a *api) tooBig(w http.ResponseWriter, id string) {
	fe := thaw.FunctionError{
		Type:    thaw.ErrorTypeTooBig,
		Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", thaw.MaxPayload),
	}
	if !a.fn.complete(id, fe.Type, fe.JSON()) {
		refuseID(w)
		return
	}
	refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
		fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", thaw.MaxPayload))
}

func (a *api) invocationError(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !a.fn.answering(id) {
		refuseID(w)
		return
	}
	body, err := readBody(r, thaw.MaxPayload)
	if errors.Is(err, errTooBig) {
		a.tooBig(w, id)
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	fe := reported(r, body)
	if len(body) == 0 {
		body = fe.JSON()
	}
	if !a.fn.complete(id, fe.Type, body) {
		refuseID(w)
		return
	}
	accept(w)
}

func (a *api) initError(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, maxError)
	if err != nil {
		body = nil // the type in the header still tells something
	}
	a.fn.fail(reported(r, body))
	accept(w)
}

func (a *api) restoreNext(w http.ResponseWriter, r *http.Request) {
	a.fn.isReady()
	select {
	case <-a.fn.restored:
		w.Header().Set("Content-Length", "0")
	case <-r.Context().Done():
	}
}

func (a *api) restoreError(w http.ResponseWriter, r *http.Request) {
	a.initError(w, r)
}

// reported returns the error that a runtime posted. Lambda's shape is expected;
// anything else still has a type.
func reported(r *http.Request, body []byte) thaw.FunctionError {
	var fe thaw.FunctionError
	if err := json.Unmarshal(body, &fe); err != nil {
		fe = thaw.FunctionError{Message: string(body)}
	}
	if fe.Type == "" {
		fe.Type = r.Header.Get("Lambda-Runtime-Function-Error-Type")
	}
	if fe.Type == "" {
		fe.Type = "Unhandled"
	}
	fe.Type = string(clip(fe.Type, maxErrorType))
	return fe
}

var errTooBig = errors.New("body is too large")

// readBody returns the request's body, at most limit bytes of it.
func readBody(r *http.Request, limit int) ([]byte, error) {
	if r.ContentLength >= 0 && r.ContentLength <= int64(limit) {
		body := make([]byte, r.ContentLength)
		_, err := io.ReadFull(r.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if err == nil && len(body) > limit {
		_, _ = io.CopyN(io.Discard, r.Body, maxDiscard)
		err = errTooBig
	}
	return body, err
}

func accept(w http.ResponseWriter) {
	writeJSON(w, http.StatusAccepted, []byte(`{"status":"OK"}`+"\n"))
}

func refuseID(w http.ResponseWriter) {
	refuse(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
}

// refuse answers in Lambda's shape of an error.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, thaw.FunctionError{Type: kind, Message: message}.JSON())
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
