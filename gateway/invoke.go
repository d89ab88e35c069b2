package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"thaw"
	"thaw/gateway/api"
)

// bodyTimeout is how long a client may take to send the body of an invocation:
// 6 MiB at 100 KiB/s.
const bodyTimeout = time.Minute

// The error type of Lambda for a body that is not JSON.
const invalidContent = "InvalidRequestContentException"

// The values of X-Amz-Invocation-Type that are served.
const (
	typeRequestResponse = "RequestResponse"
	typeEvent           = "Event"
	typeDryRun          = "DryRun"
)

func (h handlers) invoke(w http.ResponseWriter, r *http.Request) error {
	request, err := readInvoke(w, r)
	if err != nil {
		return err
	}
	returnTrace(w, request.Trace)
	switch r.Header.Get(api.HeaderInvocationType) {
	case typeDryRun:
		return h.dryRun(w, r, request)
	case typeEvent:
		return h.event(w, r, request)
	}
	reply, err := h.Invoker.Invoke(r.Context(), request)
	if thaw.CodeOf(err) == thaw.CodeFunction {
		reply, err = asFunctionError(reply, err), nil
	}
	if err != nil {
		return h.notYet(request.Function, err)
	}
	x := exchangeOf(r)
	x.start, x.invocation = string(reply.Start), reply.ID
	if request.LogTail {
		w.Header().Set(api.HeaderLogResult, logResult(reply))
	}
	writeReply(w, reply)
	return nil
}

// dryRun checks a request without running anything.
func (h handlers) dryRun(w http.ResponseWriter, r *http.Request, request thaw.InvokeRequest) error {
	if _, err := h.Finder.Find(r.Context(), request.Function); err != nil {
		return h.notYet(request.Function, err)
	}
	w.Header().Set(api.HeaderServerTiming, api.FormatTiming(nil, milliseconds(time.Since(exchangeOf(r).began))))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// event accepts an invocation, as Lambda does: 202 and no body.
func (h handlers) event(w http.ResponseWriter, r *http.Request, request thaw.InvokeRequest) error {
	for _, name := range controls() {
		if r.Header.Get(name) != "" {
			return thaw.Errorf(thaw.CodeInvalid, "header %s cannot go with %s %s: nobody would see what came of it", name, api.HeaderInvocationType, typeEvent)
		}
	}
	it, err := h.accept(r, thaw.AsyncRequest{Function: request.Function, Payload: request.Payload, Source: thaw.SourceLambda, Trace: request.Trace})
	if err != nil {
		return err
	}
	w.Header().Set(api.HeaderRequestID, it.ID)
	w.Header().Set(api.HeaderServerTiming, api.FormatTiming(nil, milliseconds(time.Since(exchangeOf(r).began))))
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// accept puts an invocation of a function that exists into the queue.
func (h handlers) accept(r *http.Request, a thaw.AsyncRequest) (thaw.QueueItem, error) {
	if _, err := h.Finder.Find(r.Context(), a.Function); err != nil {
		return thaw.QueueItem{}, h.notYet(a.Function, err)
	}
	return h.Acceptor.Enqueue(r.Context(), a)
}

// traceOf returns the trace that a request is part of.
func traceOf(r *http.Request) thaw.TraceContext {
	return thaw.ParseTraceContext(r.Header.Get(api.HeaderTraceParent), r.Header.Get(api.HeaderTraceState))
}

// returnTrace tells the client which trace was taken up.
func returnTrace(w http.ResponseWriter, t thaw.TraceContext) {
	setIf(w.Header(), api.HeaderTraceParent, t.Parent)
	setIf(w.Header(), api.HeaderTraceState, t.State)
}

// readInvoke makes a request for the engine out of an HTTP request.
func readInvoke(w http.ResponseWriter, r *http.Request) (thaw.InvokeRequest, error) {
	request := thaw.InvokeRequest{Trace: traceOf(r)}
	if err := checkInvocationType(r); err != nil {
		return request, err
	}
	ref, err := lambdaRef(r)
	if err != nil {
		return request, err
	}
	if request.ClientContext, err = clientContext(r); err != nil {
		return request, err
	}
	if request.LogTail, err = wantsLog(r); err != nil {
		return request, err
	}
	request.Function = ref.String()
	if err := readControls(r.Header, &request); err != nil {
		return request, err
	}
	request.Payload, err = readPayload(w, r)
	return request, err
}

// controls are the headers by which a request says how it is to be started.
func controls() []string {
	return []string{api.HeaderPolicy, api.HeaderCold, api.HeaderOnDemand, api.HeaderDiscard, api.HeaderFrozen, api.HeaderRecord}
}

// readControls reads them.
func readControls(header http.Header, request *thaw.InvokeRequest) (err error) {
	if p := header.Get(api.HeaderPolicy); p != "" {
		if request.Policy, err = thaw.ParsePolicy(p); err != nil {
			return err
		}
	}
	for name, to := range map[string]*bool{
		api.HeaderCold: &request.Cold, api.HeaderOnDemand: &request.OnDemand,
		api.HeaderDiscard: &request.Discard, api.HeaderFrozen: &request.Frozen, api.HeaderRecord: &request.Record,
	} {
		if *to, err = parseBool(header, name); err != nil {
			return err
		}
	}
	return nil
}

func checkInvocationType(r *http.Request) error {
	switch t := r.Header.Get(api.HeaderInvocationType); t {
	case "", typeRequestResponse, typeEvent, typeDryRun:
		return nil
	default:
		return thaw.Errorf(thaw.CodeInvalid, "%s %s is not supported: use %s, %s or %s", api.HeaderInvocationType, printable(t), typeRequestResponse, typeEvent, typeDryRun)
	}
}

func parseBool(header http.Header, name string) (bool, error) {
	value := header.Get(name)
	if value == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(value)
	if err != nil {
		return false, thaw.Errorf(thaw.CodeInvalid, "header %s is %s: write true or false", name, printable(value))
	}
	return set, nil
}

// readPayload reads the body: JSON of at most [thaw.MaxPayload] bytes, {} when
// there is none.
func readPayload(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return []byte("{}"), nil
	}
	if !isJSON(body) {
		return nil, httpError{http.StatusBadRequest, invalidContent, thaw.Errorf(thaw.CodeInvalid, "the request's body is not JSON: send a JSON value in UTF-8, or nothing for {}")}
	}
	return body, nil
}

func isJSON(body []byte) bool { return json.Valid(body) && utf8.Valid(body) }

// readBody reads at most [thaw.MaxPayload] bytes.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return readBounded(w, r, thaw.MaxPayload, bodyTimeout, payloadTooLarge)
}

// readBounded reads at most most bytes, within the time that patience is.
func readBounded(w http.ResponseWriter, r *http.Request, most int64, patience time.Duration, tooLarge func() error) ([]byte, error) {
	conn := http.NewResponseController(w)
	if r.ContentLength > most {
		if r.Header.Get("Expect") == "" { // else it waits to be told to send
			drain(conn, r.Body)
		}
		return nil, tooLarge()
	}
	// A writer without deadlines is that of a test; nothing is lost.
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	// Left in place, the deadline would end the request itself while it runs.
	_ = conn.SetReadDeadline(time.Time{})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		drain(conn, r.Body)
		return nil, tooLarge()
	}
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the request's body cannot be read: %w", err)
	}
	return body, nil
}

func payloadTooLarge() error {
	return thaw.Errorf(thaw.CodeTooLarge, "the request's body is larger than %d bytes: that is the most an invocation takes", thaw.MaxPayload)
}

// asFunctionError makes the reply for a failure of the function that the engine
// could only tell as an error, such as a failed init.
func asFunctionError(reply thaw.Reply, err error) thaw.Reply {
	const unknown = "Runtime.Unknown" // Lambda's own word for it
	if reply.FunctionError == "" {
		reply.FunctionError = unknown
	}
	if len(reply.Payload) == 0 {
		reply.Payload = thaw.FunctionError{Type: reply.FunctionError, Message: err.Error()}.JSON()
	}
	return reply
}

// writeReply sends what a function returned, or its own error, with the way it
// was started. Lambda answers 200 to both.
func writeReply(w http.ResponseWriter, reply thaw.Reply) {
	header := w.Header()
	header.Set("Content-Type", api.TypeJSON)
	header.Set("Content-Length", strconv.Itoa(len(reply.Payload)))
	header.Set("Cache-Control", "no-store")
	describeStart(header, reply)
	if reply.FunctionError != "" {
		header.Set(api.HeaderFunctionError, "Unhandled")
	}
	w.WriteHeader(http.StatusOK)
	// A client that is gone is seen by the server itself.
	_, _ = w.Write(reply.Payload)
}

// describeStart says which version served and how it was started.
func describeStart(header http.Header, reply thaw.Reply) {
	header.Set(api.HeaderExecutedVersion, strconv.Itoa(reply.Version))
	header.Set(api.HeaderServerTiming, api.FormatTiming(reply.PhasesMS, reply.DurationMS))
	setIf(header, api.HeaderRequestID, reply.ID)
	setIf(header, api.HeaderStart, string(reply.Start))
	setIf(header, api.HeaderPolicy, string(reply.Policy))
	setIf(header, api.HeaderInstance, reply.Instance)
}

func setIf(header http.Header, name, value string) {
	if value != "" {
		header.Set(name, value)
	}
}
