package daemon

import (
	"context"
	"errors"

	"thaw"
	"thaw/agent"
	"thaw/instance"
)

// Choose returns the version that an invocation of ref runs now; of an alias with
// weights, one that was drawn.
func (d *Daemon) Choose(_ context.Context, ref string) (thaw.Version, error) {
	return d.resolve(ref, d.random())
}

// Exchange passes q to a function that is an HTTP server, and its reply to w as it
// comes. It returns when the exchange is over. The function's failure is in the reply,
// with the error as its payload; w may have begun by then.
func (d *Daemon) Exchange(ctx context.Context, r thaw.InvokeRequest, q thaw.HTTPRequest, w thaw.HTTPReplier) (thaw.Reply, error) {
	reply, err := d.handle(ctx, r, func(c *call, ctx context.Context, in *instance.Instance) (agent.Result, error) {
		return c.exchange(ctx, in, q, w)
	})
	if q.Body != nil {
		q.Body.Close() // should it not have come to an exchange
	}
	return reply, err
}

// exchange is the work of a request to an HTTP server.
func (c *call) exchange(ctx context.Context, in *instance.Instance, q thaw.HTTPRequest, w thaw.HTTPReplier) (agent.Result, error) {
	if c.version.Protocol() != thaw.ProtocolHTTP {
		return agent.Result{}, thaw.Errorf(thaw.CodeInvalid, "function %s is no HTTP server", c.version.Function)
	}
	done, err := in.Exchange(ctx, agent.Request{RequestID: c.record.ID, HTTPRequest: q}, &replier{w, c})
	if errors.Is(err, agent.ErrClient) && thaw.CodeOf(err) == thaw.CodeInternal {
		err = thaw.Errorf(thaw.CodeInvalid, "%w", err)
	}
	result := agent.Result{Finished: done.Finished}
	if done.Failure != nil {
		result.FunctionError, result.Payload = done.Failure.Type, done.Failure.JSON()
	}
	return result, err
}

// replier adds what is known of the call to the head of a reply.
type replier struct {
	thaw.HTTPReplier
	call *call
}

// Head passes on the head.
func (r *replier) Head(head thaw.HTTPReply) error {
	record := ended(r.call.record, r.call.began, nil)
	record.PhasesMS = r.call.timeline.Milliseconds()
	return r.Begin(head, record)
}
