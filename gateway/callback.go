package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"thaw"
	"thaw/gateway/api"
)

const (
	// callbackTimeout is how long a callback's server may take in all.
	callbackTimeout = 30 * time.Second
	callbackDial    = 5 * time.Second
	// maxCallbackReply is how much of its reply is read, in bytes, to use the
	// connection again.
	maxCallbackReply = 64 << 10
)

// Callbacks posts results to callback URLs, as OpenFaaS's queue worker does. Its
// methods may be called concurrently. Whoever can invoke chooses the URL, and the
// daemon connects to it.
type Callbacks struct{ http *http.Client }

// NewCallbacks returns a poster; the caller closes it.
func NewCallbacks() *Callbacks {
	return &Callbacks{&http.Client{
		Timeout: callbackTimeout,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: callbackDial}).DialContext,
			TLSHandshakeTimeout: callbackDial,
			MaxIdleConns:        32,
			IdleConnTimeout:     time.Minute,
		},
		// The result is for the address that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes idle connections.
func (c *Callbacks) Close() { c.http.CloseIdleConnections() }

// Deliver posts d once. Anything but a status 2xx is a [thaw.CodeUnavailable]
// error.
func (c *Callbacks) Deliver(ctx context.Context, d thaw.Delivery) error {
	request, err := newCallback(ctx, d)
	if err != nil {
		return err
	}
	reply, err := c.http.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return thaw.Errorf(thaw.CodeUnavailable, "post to %s: %w", d.URL, err)
	}
	defer reply.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(reply.Body, maxCallbackReply))
	if reply.StatusCode/100 != 2 {
		return thaw.Errorf(thaw.CodeUnavailable, "post to %s: the server replied %s", d.URL, reply.Status)
	}
	return nil
}

func newCallback(ctx context.Context, d thaw.Delivery) (*http.Request, error) {
	if _, err := callbackOf(http.Header{api.HeaderCallbackURL: {d.URL}}); err != nil {
		return nil, err
	}
	out, err := replyOverHTTP(d.Payload, d.CallResult)
	if err != nil {
		out = httpReply{http.StatusBadGateway, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, []byte(err.Error())}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(out.body))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "make the callback: %w", err)
	}
	request.Header = out.header
	request.Header.Set(api.HeaderCallID, d.CallID)
	request.Header.Set(api.HeaderFunctionName, d.Function)
	request.Header.Set(api.HeaderFunctionStatus, strconv.Itoa(out.status))
	request.Header.Set(api.HeaderDurationSeconds, seconds(d.DurationMS))
	if d.Version != 0 {
		request.Header.Set(api.HeaderExecutedVersion, strconv.Itoa(d.Version))
	}
	setIf(request.Header, api.HeaderTraceParent, d.Trace.Parent)
	setIf(request.Header, api.HeaderTraceState, d.Trace.State)
	return request, nil
}
