package instance

import (
	"context"
	"errors"
	"time"

	"thaw"
	"thaw/agent"
	"thaw/webadapter"
)

// Exchange passes r to the function's HTTP server and the reply to w as it comes; r's
// deadline is set by the version's timeout. It may be called concurrently, for as many
// requests as the version allows. Errors are those of Invoke; one that wraps
// [agent.ErrClient] leaves the instance as good as it was.
func (in *Instance) Exchange(ctx context.Context, r agent.Request, w agent.Replier) (agent.Exchanged, error) {
	in.served.Add(1)
	r.Deadline = time.Now().Add(in.Version.Timeout)
	ctx, cancel := context.WithDeadlineCause(ctx, r.Deadline.Add(grace), errHung)
	defer cancel()
	settled := &settledReplier{Replier: w, settle: func() error { return in.settle(ctx) }}
	done, err := in.conn.Exchange(ctx, r, settled)
	if settled.err != nil {
		err = settled.err
	}
	if err == nil || thaw.CodeOf(err) != thaw.CodeInternal || settled.err == nil && errors.Is(err, agent.ErrClient) {
		return done, err
	}
	return done, thaw.Errorf(thaw.CodeInstance, "instance %s failed: %w", in.ID, in.explain(err))
}

// settle waits until what the guest has mapped is known to be right.
func (in *Instance) settle(ctx context.Context) error {
	if in.memory == nil {
		return nil
	}
	return in.memory.Settle(ctx)
}

// settledReplier lets nothing through of a guest whose memory may be wrong.
type settledReplier struct {
	agent.Replier
	settle func() error
	err    error
}

// Head passes on the head.
func (s *settledReplier) Head(r thaw.HTTPReply) error {
	if s.err = s.settle(); s.err != nil {
		return s.err
	}
	return s.Replier.Head(r)
}

// invokeServer makes a request of an invocation.
func (in *Instance) invokeServer(ctx context.Context, i agent.Invocation) (agent.Result, error) {
	a, err := webadapter.Adapt(i.Payload, i.TraceID, in.Version.Env)
	if err != nil {
		return agent.Result{}, err
	}
	done, err := in.Exchange(ctx, agent.Request{RequestID: i.RequestID, HTTPRequest: a.Request}, a)
	if failure := a.TooLarge(); failure != nil && errors.Is(err, agent.ErrClient) {
		return agent.Result{FunctionError: failure.Type, Payload: failure.JSON()}, nil
	}
	if err != nil {
		return agent.Result{}, err
	}
	if done.Failure == nil {
		done.Failure = a.Failure()
	}
	if done.Failure != nil {
		return agent.Result{FunctionError: done.Failure.Type, Payload: done.Failure.JSON(), Finished: done.Finished}, nil
	}
	return agent.Result{Payload: a.Result(), Finished: done.Finished}, nil
}
