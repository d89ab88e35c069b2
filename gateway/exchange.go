package gateway

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"thaw"
	"thaw/functionurl"
	"thaw/gateway/api"
)

// writeGrace is how long the client may take for the rest of a reply once the
// function's time is over.
const writeGrace = 10 * time.Second

// Exchanger passes requests through to functions that are HTTP servers.
type Exchanger interface {
	// Choose returns the version that an invocation of NAME[:QUALIFIER] runs now.
	Choose(ctx context.Context, ref string) (thaw.Version, error)
	// Exchange returns when the exchange is over. A failure of the function is a reply
	// whose FunctionError is set, and may come after w has begun.
	Exchange(ctx context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error)
}

// exchange passes a request through to v, an HTTP server, and the reply back.
func (h handlers) exchange(w http.ResponseWriter, r *http.Request, v thaw.Version, began time.Time) error {
	if r.Header.Get("Upgrade") != "" {
		return httpError{http.StatusNotImplemented, "", thaw.Errorf(thaw.CodeInvalid, "the connection cannot be upgraded to %s: functions serve plain HTTP, and server-sent events for what comes by itself", printable(r.Header.Get("Upgrade")))}
	}
	c, err := newCall(r)
	if err != nil {
		return err
	}
	request := thaw.InvokeRequest{Function: thaw.RefTo(v.Function, v.Number).String(), ID: c.id, Trace: c.Trace}
	if err := readControls(r.Header, &request); err != nil {
		return err
	}
	if r.ContentLength > thaw.MaxHTTPBody {
		return bodyTooLarge()
	}
	conn := http.NewResponseController(w)
	_ = conn.EnableFullDuplex() // of HTTP/2 it is so anyway
	c.announce(w.Header(), began)
	relay := &relay{w: w, conn: conn, x: exchangeOf(r), deadline: v.Timeout + writeGrace}
	defer relay.end()
	reply, err := h.Exchanger.Exchange(r.Context(), request, requestOf(r, c, conn), relay)
	if relay.begun && (err != nil || reply.FunctionError != "") {
		exchangeOf(r).failure = errors.Join(err, errors.New(reply.FunctionError))
		panic(http.ErrAbortHandler) // what was sent has no end, and must not look as if it had
	}
	if thaw.CodeOf(err) == thaw.CodeFunction {
		reply, err = asFunctionError(reply, err), nil
	}
	if err != nil || reply.FunctionError == "" {
		return err
	}
	describeStart(w.Header(), reply)
	w.Header().Set(api.HeaderFunctionError, "Unhandled")
	w.Header().Set("Content-Type", api.TypeJSON)
	w.WriteHeader(statusOf(reply.FunctionError))
	_, _ = w.Write(reply.Payload) // a client that is gone is seen by the server itself
	return nil
}

// statusOf is that of a server that gave no reply.
func statusOf(functionError string) int {
	if functionError == thaw.ErrorTypeTimeout {
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

func bodyTooLarge() error {
	return thaw.Errorf(thaw.CodeTooLarge, "the request's body is larger than %d bytes: that is the most a function takes", int64(thaw.MaxHTTPBody))
}

// requestOf is r as the function is to see it.
func requestOf(r *http.Request, c call, conn *http.ResponseController) thaw.HTTPRequest {
	q := thaw.HTTPRequest{Method: r.Method, Target: targetOf(r), Header: headerOf(r, c), Length: r.ContentLength}
	if r.Body != nil && r.Body != http.NoBody {
		q.Body = &requestBody{body: r.Body, conn: conn}
	}
	return q
}

// targetOf is what follows the function's name, as it was written.
func targetOf(r *http.Request) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), api.PathOpenFaaS+"/"), api.PathOpenFaaSAsync+"/")
	_, path, _ := strings.Cut(rest, "/")
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	return "/" + path
}

// headerOf returns the headers of r that are the function's, in order.
func headerOf(r *http.Request, c call) []thaw.HTTPField {
	header := r.Header.Clone()
	for _, name := range hopByHop(header) {
		header.Del(name)
	}
	for _, name := range append(controls(), "Content-Length", "Expect") {
		header.Del(name)
	}
	forwarded(header, r)
	header.Set(api.HeaderCallID, c.callID())
	fields := []thaw.HTTPField{{Name: "Host", Value: r.Host}}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			fields = append(fields, thaw.HTTPField{Name: name, Value: value})
		}
	}
	return fields
}

// forwarded says who asked, and for what, as proxies do.
func forwarded(header http.Header, r *http.Request) {
	const from = "X-Forwarded-For"
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		header.Set(from, strings.Join(append(header.Values(from), host), ", "))
	}
	if header.Get("X-Forwarded-Host") == "" {
		header.Set("X-Forwarded-Host", r.Host)
	}
	if header.Get("X-Forwarded-Proto") == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		header.Set("X-Forwarded-Proto", scheme)
	}
}

// hopByHop returns the headers that are the connection's, those among them that it
// names itself.
func hopByHop(header http.Header) (names []string) {
	for _, value := range header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			names = append(names, textproto.TrimString(name))
		}
	}
	for name := range header {
		if functionurl.IsHopByHop(name) {
			names = append(names, name)
		}
	}
	return names
}

// requestBody is the body of a request on its way. Close ends a Read under way, after
// which the connection is of no further use.
type requestBody struct {
	body io.Reader
	conn *http.ResponseController
	read int64
	done atomic.Bool // it has been read to its end
}

func (u *requestBody) Read(p []byte) (int, error) {
	n, err := u.body.Read(p)
	if u.read += int64(n); u.read > thaw.MaxHTTPBody {
		return 0, bodyTooLarge()
	}
	if errors.Is(err, io.EOF) {
		u.done.Store(true)
	}
	return n, err
}

func (u *requestBody) Close() error {
	if u.done.Load() {
		return nil
	}
	return u.conn.SetReadDeadline(time.Unix(1, 0))
}

// relay writes a reply as it comes.
type relay struct {
	w        http.ResponseWriter
	conn     *http.ResponseController
	x        *exchange
	deadline time.Duration // for all of the reply
	until    time.Time     // the same, once it has begun
	begun    bool
}

// Begin sends the head.
func (b *relay) Begin(head thaw.HTTPReply, sofar thaw.Invocation) error {
	b.begun = true
	b.x.start, b.x.invocation = string(sofar.Start), sofar.ID
	b.until = time.Now().Add(b.deadline)
	header := b.w.Header()
	describeStart(header, thaw.Reply{Invocation: sofar})
	own := http.Header{}
	for _, f := range head.Header {
		own.Add(f.Name, f.Value)
	}
	for _, name := range hopByHop(own) {
		own.Del(name)
	}
	header.Del("X-Content-Type-Options") // whether to sniff is the function's to say
	header["Content-Type"] = nil         // so is what it is
	for name, values := range own {
		header[name] = values
	}
	b.w.WriteHeader(head.Status)
	return b.flush()
}

// Write sends a piece at once.
func (b *relay) Write(p []byte) (int, error) {
	_ = b.conn.SetWriteDeadline(b.until) // a writer without is that of a test
	n, err := b.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, b.flush()
}

func (b *relay) flush() error {
	_ = b.conn.SetWriteDeadline(b.until)
	return b.conn.Flush()
}

// Trailer sends what comes behind the body.
func (b *relay) Trailer(fields []thaw.HTTPField) error {
	for _, f := range fields {
		b.w.Header().Add(http.TrailerPrefix+f.Name, f.Value)
	}
	return nil
}

// end leaves the connection as it was.
func (b *relay) end() { _ = b.conn.SetWriteDeadline(time.Time{}) }
