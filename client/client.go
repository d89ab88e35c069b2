// Package client talks to a running thaw daemon over HTTP.
//
// Every error of a method is a *thaw.Error with the code the daemon gave. When
// the daemon cannot be reached at all, errors.Is(err, ErrUnreachable) holds too.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// DefaultAddr is where a daemon listens unless told otherwise.
const DefaultAddr = "127.0.0.1:7300"

// ErrUnreachable says that no daemon answered.
var ErrUnreachable = errors.New("no answer")

// The most a reply may hold, in bytes. A record or a description is far
// smaller; a list of logs is api.MaxLogLines lines.
const (
	maxReply = 64 << 20
	maxError = 64 << 10
)

const dialTimeout = 5 * time.Second

// Client is a connection pool to one daemon. Its methods may be called from
// many goroutines. They take no longer than their context allows; none sets a
// limit of its own but for connecting.
type Client struct {
	base string // http://host:port
	http *http.Client
}

// New returns a client for the daemon at addr: host:port, or an http or https
// URL without a path. It does not connect yet.
func New(addr string) (*Client, error) {
	base := addr
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, thaw.Errorf(thaw.CodeInvalid, "address %q of the daemon is not valid: write host:port, such as %s", addr, DefaultAddr)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{
		base: u.Scheme + "://" + u.Host,
		http: &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dialer.DialContext,
			MaxIdleConnsPerHost: 32,
			IdleConnTimeout:     time.Minute,
		}},
	}, nil
}

// Addr returns the address of the daemon as a URL.
func (c *Client) Addr() string { return c.base }

// Close closes idle connections. A client may be used after it.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// functionsAtOnce bounds one reply, however many functions there are.
const functionsAtOnce = 1000

// Functions returns the version of each function that serves, by name.
func (c *Client) Functions(ctx context.Context) ([]thaw.Version, error) {
	all, _, err := c.List(ctx, thaw.FunctionQuery{})
	return all, err
}

// List returns of those what q asks for, and whether there are more.
func (c *Client) List(ctx context.Context, q thaw.FunctionQuery) (all []thaw.Version, more bool, err error) {
	all = []thaw.Version{}
	for {
		page := q
		if page.Limit = functionsAtOnce; q.Limit > 0 {
			page.Limit = min(functionsAtOnce, q.Limit-len(all))
		}
		list, err := c.page(ctx, page)
		all = append(all, list.Functions...)
		if err != nil || !list.More || len(list.Functions) == 0 || len(all) == q.Limit {
			return all, list.More, err
		}
		q.After = all[len(all)-1].Function
	}
}

func (c *Client) page(ctx context.Context, q thaw.FunctionQuery) (list api.Functions, err error) {
	values := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	for name, value := range map[string]string{"prefix": q.Prefix, "after": q.After} {
		if value != "" {
			values.Set(name, value)
		}
	}
	err = c.get(ctx, api.PathFunctions+"?"+values.Encode(), &list)
	return list, err
}

// Describe returns everything about a version of a function. Its name, as that of
// the methods below, is NAME[:QUALIFIER], see [thaw.Ref].
func (c *Client) Describe(ctx context.Context, name string) (thaw.Description, error) {
	var d thaw.Description
	err := c.get(ctx, functionPath(name), &d)
	return d, err
}

// Memory returns what the memory of a version's snapshot is made of, as policy
// sees it.
func (c *Client) Memory(ctx context.Context, name string, policy thaw.Policy) (thaw.MemoryMap, error) {
	var m thaw.MemoryMap
	err := c.get(ctx, functionPath(name)+api.PathMemorySuffix+"?policy="+url.QueryEscape(string(policy)), &m)
	return m, err
}

// Remove removes a function with all its versions, or of NAME:VERSION that one.
func (c *Client) Remove(ctx context.Context, name string) error {
	return c.delete(ctx, functionPath(name))
}

// EndIdle ends the idle VMs of a function.
func (c *Client) EndIdle(ctx context.Context, name string) error {
	return c.delete(ctx, functionPath(name)+api.PathInstancesSuffix)
}

func (c *Client) delete(ctx context.Context, path string) error {
	reply, err := c.send(ctx, http.MethodDelete, path, nil, nil)
	if err != nil {
		return err
	}
	return reply.Body.Close()
}

// Instances returns the running VMs.
func (c *Client) Instances(ctx context.Context) ([]thaw.Instance, error) {
	var list api.Instances
	err := c.get(ctx, api.PathInstances, &list)
	return list.Instances, err
}

// Invocation returns the record of a past invocation.
func (c *Client) Invocation(ctx context.Context, id string) (thaw.Invocation, error) {
	var record thaw.Invocation
	err := c.get(ctx, api.PathInvocations+"/"+url.PathEscape(id), &record)
	return record, err
}

// Info describes the daemon.
func (c *Client) Info(ctx context.Context) (api.Info, error) {
	var info api.Info
	err := c.get(ctx, api.PathInfo, &info)
	return info, err
}

func functionPath(name string) string { return api.PathFunctions + "/" + url.PathEscape(name) }

// get decodes the JSON reply to a GET into v.
func (c *Client) get(ctx context.Context, path string, v any) error {
	return c.exchange(ctx, http.MethodGet, path, nil, nil, v)
}

// exchange decodes the JSON reply to a request into v.
func (c *Client) exchange(ctx context.Context, method, path string, header http.Header, body io.Reader, v any) error {
	reply, err := c.send(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	raw, err := readAll(reply.Body, maxReply)
	if err != nil {
		return c.lost(ctx, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return c.broken(err)
	}
	return nil
}

// send makes a request and returns its reply when it is a success; the caller
// closes its body.
func (c *Client) send(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "make request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	reply, err := c.http.Do(request)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if reply.StatusCode/100 != 2 {
		defer reply.Body.Close()
		return nil, replyError(reply)
	}
	return reply, nil
}

// failed says why a request got no reply.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &thaw.Error{Code: thaw.CodeUnavailable, Err: context.Cause(ctx)}
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // the address is said already
	}
	// An error that the body of the request ended with is the caller's own.
	if e, ok := errors.AsType[*thaw.Error](err); ok {
		return e
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return c.lost(ctx, err) // it was there
	}
	return thaw.Errorf(thaw.CodeUnavailable, "%w from a thaw daemon at %s (%w): start one with `thaw serve`, or name another with --addr or THAW_ADDR", ErrUnreachable, c.base, err)
}

// lost says why a reply stopped in the middle.
func (c *Client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return c.failed(ctx, err)
	}
	return thaw.Errorf(thaw.CodeUnavailable, "the connection to %s was lost (%w): is the daemon still running?", c.base, err)
}

// broken is a reply that is not what a daemon of this version sends.
func (c *Client) broken(err error) error {
	return thaw.Errorf(thaw.CodeInternal, "the reply of %s cannot be read: %w", c.base, err)
}

// replyError makes an error of a reply that is one.
func replyError(reply *http.Response) error {
	body, err := readAll(reply.Body, maxError)
	var e api.Error
	if err == nil {
		err = json.Unmarshal(body, &e)
	}
	if err != nil || e.Message == "" {
		text := string(bytes.TrimSpace(body[:min(len(body), 200)]))
		return thaw.Errorf(api.CodeOfStatus(reply.StatusCode), "the server replied %s: %q", reply.Status, text)
	}
	if e.Code == "" {
		e.Code = api.CodeOfStatus(reply.StatusCode)
	}
	return &thaw.Error{Code: e.Code, Err: errors.New(e.Message)}
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return body, err
	}
	if int64(len(body)) > limit {
		return body, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return body, nil
}
