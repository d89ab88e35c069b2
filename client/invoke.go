package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"thaw"
	"thaw/gateway/api"
)

// Invoke runs a function once. A failure of the function itself is a reply
// whose FunctionError is set. Of the record, it fills what the reply's headers
// say: id, function, version, instance, start, policy, duration and phases; see
// [Client.InvokeRecorded] for the rest.
func (c *Client) Invoke(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	header := http.Header{"Content-Type": {api.TypeJSON}}
	if r.LogTail {
		header.Set(api.HeaderLogType, "Tail")
	}
	if r.Trace.Parent != "" {
		header.Set(api.HeaderTraceParent, r.Trace.Parent)
	}
	if r.Trace.State != "" {
		header.Set(api.HeaderTraceState, r.Trace.State)
	}
	setControls(header, r)
	path := api.PathInvokePrefix + url.PathEscape(r.Function) + api.PathInvokeSuffix
	reply, err := c.send(ctx, http.MethodPost, path, header, bytes.NewReader(r.Payload))
	if err != nil {
		return thaw.Reply{}, err
	}
	defer reply.Body.Close()
	payload, err := readAll(reply.Body, maxReply)
	if err != nil {
		return thaw.Reply{}, c.lost(ctx, err)
	}
	result := thaw.Reply{Payload: payload, Invocation: readInvocation(nameOf(r.Function), reply.Header, payload)}
	if log := reply.Header.Get(api.HeaderLogResult); log != "" {
		if result.LogTail, err = base64.StdEncoding.DecodeString(log); err != nil {
			return result, c.broken(err)
		}
	}
	return result, nil
}

// setControls says how r is to be started.
func setControls(header http.Header, r thaw.InvokeRequest) {
	if r.Policy != "" {
		header.Set(api.HeaderPolicy, string(r.Policy))
	}
	for name, set := range map[string]bool{
		api.HeaderCold: r.Cold, api.HeaderOnDemand: r.OnDemand, api.HeaderDiscard: r.Discard,
		api.HeaderFrozen: r.Frozen, api.HeaderRecord: r.Record,
	} {
		if set {
			header.Set(name, "true")
		}
	}
}

// nameOf is the name without its qualifier.
func nameOf(ref string) string {
	name, _, _ := strings.Cut(ref, ":")
	return name
}

// InvokeRecorded is [Client.Invoke] and, in a second request after the reply,
// the daemon's record of it: faults, pages, bytes. When the daemon no longer
// has the record the reply is as Invoke returns it.
func (c *Client) InvokeRecorded(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
	reply, err := c.Invoke(ctx, r)
	if err != nil || reply.ID == "" {
		return reply, err
	}
	record, err := c.Invocation(ctx, reply.ID)
	if thaw.CodeOf(err) == thaw.CodeNotFound {
		return reply, nil
	}
	if err != nil {
		return reply, err
	}
	reply.Invocation = record
	return reply, nil
}

// readInvocation reads what the headers of a reply say about its invocation.
func readInvocation(function string, header http.Header, payload []byte) thaw.Invocation {
	phases, total := api.ParseTiming(header.Get(api.HeaderServerTiming))
	version, err := strconv.Atoi(header.Get(api.HeaderExecutedVersion))
	if err != nil {
		version = 0 // unknown, as with any header that is not there
	}
	i := thaw.Invocation{
		ID:         header.Get(api.HeaderRequestID),
		Function:   function,
		Version:    version,
		Instance:   header.Get(api.HeaderInstance),
		Start:      thaw.Start(header.Get(api.HeaderStart)),
		Policy:     thaw.Policy(header.Get(api.HeaderPolicy)),
		DurationMS: total,
		PhasesMS:   phases,
	}
	if kind := header.Get(api.HeaderFunctionError); kind != "" {
		i.FunctionError = errorType(payload, kind)
	}
	return i
}

// errorType returns the type in a function's error object, or otherwise.
func errorType(payload []byte, otherwise string) string {
	var e thaw.FunctionError
	if json.Unmarshal(payload, &e) != nil || e.Type == "" {
		return otherwise
	}
	return e.Type
}
