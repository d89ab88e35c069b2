package gateway

// How OpenFaaS's requests become events. A function that is an HTTP server gets them as
// they are; see exchange.go. Any other function of thaw takes an event, not a request,
// so there are two cases, and what people send by hand stays simple:
//
//   - A POST of JSON, or of nothing, with neither a path of its own nor a query nor
//     CloudEvents headers is the event itself, byte for byte. So a function does the
//     same whether it is invoked as Lambda's or as OpenFaaS's are.
//   - Anything else is an event as a function URL of Lambda makes it (payload format
//     2.0), with method, path, query, headers (CloudEvents' ce-* and traceparent among
//     them) and body, base64 when it is not UTF-8: the shape that adapters for web
//     frameworks know.
//
// The path names a version as everywhere, /function/NAME:QUALIFIER. The query is all
// the function's own, also one called Qualifier.
//
// The reply goes back as a function URL has it: an object with a statusCode says
// status, headers and body; anything else is the body, as JSON. A function that
// fails is 500 with its error object, as OpenFaaS's watchdog has it.
//
// An asynchronous request to an HTTP server waits as an event of the second kind, and is
// made a request again.

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"thaw"
	"thaw/gateway/api"
	"thaw/internal/uuid"
)

// maxCallID and maxCallback bound headers of a request in bytes.
const (
	maxCallID   = 128
	maxCallback = 2048
)

func (h handlers) openFaaS(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	v, err := h.Exchanger.Choose(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	if v.Protocol() == thaw.ProtocolHTTP {
		return h.exchange(w, r, v, began)
	}
	call, err := readCall(w, r, v)
	if err != nil {
		return err
	}
	call.announce(w.Header(), began)
	reply, err := h.Invoker.Invoke(r.Context(), thaw.InvokeRequest{Function: call.Function, Payload: call.Payload, ID: call.id, Trace: call.Trace})
	if thaw.CodeOf(err) == thaw.CodeFunction {
		reply, err = asFunctionError(reply, err), nil
	}
	if err != nil {
		return err
	}
	exchangeOf(r).start = string(reply.Start)
	out, err := replyOverHTTP(reply.Payload, thaw.CallResult{FunctionError: reply.FunctionError})
	if err != nil {
		return err
	}
	header := w.Header()
	describeStart(header, reply)
	header.Set(api.HeaderDurationSeconds, seconds(reply.DurationMS))
	for name, values := range out.header {
		header[name] = values
	}
	w.WriteHeader(out.status)
	// A client that is gone is seen by the server itself.
	_, _ = w.Write(out.body)
	return nil
}

func (h handlers) openFaaSAsync(w http.ResponseWriter, r *http.Request) error {
	began := time.Now()
	v, err := h.Exchanger.Choose(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	call, err := readCall(w, r, v)
	if err != nil {
		return err
	}
	if call.Callback, err = callbackOf(r.Header); err != nil {
		return err
	}
	it, err := h.accept(r, call.AsyncRequest)
	if err != nil {
		return err
	}
	call.CallID = it.CallID
	call.announce(w.Header(), began)
	w.Header().Set(api.HeaderRequestID, it.ID)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (h handlers) openFaaSList(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Catalog.Functions(r.Context())
	if err != nil {
		return err
	}
	running := map[string]int{}
	for _, i := range h.Monitor.Instances() {
		running[i.Function]++
	}
	list := make([]api.OpenFaaSFunction, 0, len(all))
	for _, v := range all {
		n := running[v.Function]
		list = append(list, api.OpenFaaSFunction{
			Name: v.Function, Image: v.Function + ":" + strconv.Itoa(v.Number), EnvProcess: string(v.Runtime),
			Labels: map[string]string{}, Annotations: map[string]string{}, Replicas: n, AvailableReplicas: n, CreatedAt: v.Created,
		})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (h handlers) openFaaSRemove(w http.ResponseWriter, r *http.Request) error {
	raw, err := readBody(w, r)
	if err != nil {
		return err
	}
	var body api.OpenFaaSRemove
	if err := json.Unmarshal(raw, &body); err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "the request cannot be read (%w): send a JSON object such as {\"functionName\": \"hello\"}", err)
	}
	if err := thaw.CheckName(body.FunctionName); err != nil {
		return err
	}
	if err := h.removeNamed(r.Context(), body.FunctionName); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (h handlers) openFaaSInfo(w http.ResponseWriter, _ *http.Request) error {
	version := api.OpenFaaSVersion{Release: h.Info().Version}
	writeJSON(w, http.StatusOK, api.OpenFaaSInfo{
		Provider: api.OpenFaaSProvider{Provider: "thaw", Orchestration: "thaw", Version: version}, Version: version, Arch: "x86_64",
	})
	return nil
}

// call is a request on one of OpenFaaS's paths.
type call struct {
	thaw.AsyncRequest
	id string // the request id, of one that is waited for
}

// newCall reads what the headers of r say.
func newCall(r *http.Request) (call, error) {
	c := call{AsyncRequest: thaw.AsyncRequest{Function: r.PathValue("name"), Source: thaw.SourceOpenFaaS, Trace: traceOf(r)}, id: uuid.New()}
	c.CallID = r.Header.Get(api.HeaderCallID)
	if len(c.CallID) > maxCallID {
		return c, thaw.Errorf(thaw.CodeInvalid, "header %s is longer than %d bytes", api.HeaderCallID, maxCallID)
	}
	return c, nil
}

// readCall reads r whole, as an event for v.
func readCall(w http.ResponseWriter, r *http.Request, v thaw.Version) (call, error) {
	c, err := newCall(r)
	if err != nil {
		return c, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return c, err
	}
	c.Payload = eventOf(r, v, body, c.id, time.Now())
	if len(c.Payload) > thaw.MaxPayload { // as base64 it grows
		return c, payloadTooLarge()
	}
	return c, nil
}

// callID is the caller's own name for the call, or the request id.
func (c call) callID() string { return cmp.Or(c.CallID, c.id) }

// announce sets the headers that every reply to an invocation has.
func (c call) announce(header http.Header, began time.Time) {
	header.Set(api.HeaderCallID, c.callID())
	header.Set(api.HeaderStartTime, strconv.FormatInt(began.UTC().UnixNano(), 10))
	setIf(header, api.HeaderTraceParent, c.Trace.Parent)
	setIf(header, api.HeaderTraceState, c.Trace.State)
}

// callbackOf returns the callback URL of a request, "" for none.
func callbackOf(header http.Header) (string, error) {
	value := header.Get(api.HeaderCallbackURL)
	if value == "" {
		return "", nil
	}
	u, err := url.Parse(value)
	if err != nil || len(value) > maxCallback || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "header %s is %s: write an http or https URL with a host and without a password, of at most %d bytes", api.HeaderCallbackURL, printable(value), maxCallback)
	}
	return value, nil
}

// replyOverHTTP returns how an invocation that is over looks over HTTP.
func replyOverHTTP(payload []byte, result thaw.CallResult) (httpReply, error) {
	failed := httpReply{http.StatusInternalServerError, http.Header{"Content-Type": {api.TypeJSON}}, payload}
	switch {
	case result.Code != "":
		failed.status = api.MappingOf(result.Code).Status
		return failed, nil
	case result.FunctionError != "":
		failed.header.Set(api.HeaderFunctionError, "Unhandled")
		return failed, nil
	}
	return replyOf(payload)
}

func seconds(ms float64) string { return strconv.FormatFloat(ms/1e3, 'f', 6, 64) }
