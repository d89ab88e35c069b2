package peers

import (
	"context"
	"embed"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"crypto/rand"

	"thaw"
	"thaw/bench"
	"thaw/client"
	"thaw/image"
)

//go:embed function
var sample embed.FS

// deploySample deploys the function that is measured when none is named. remove
// removes it, also when ctx has ended.
func deploySample(ctx context.Context, c *client.Client) (name string, remove func() error, err error) {
	dir, err := os.MkdirTemp("", "thaw-peers-function-")
	if err != nil {
		return "", nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sample); err != nil {
		return "", nil, err
	}
	name = "peers-" + strings.ToLower(rand.Text()[:8])
	r, w := io.Pipe()
	defer r.Close()
	go func() { w.CloseWithError(image.Pack(dir+"/function", w)) }()
	if _, err := c.Deploy(ctx, name, thaw.Settings{}, r, nil); err != nil {
		return "", nil, err
	}
	return name, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		return c.Remove(ctx, name)
	}, nil
}

const removeTimeout = 30 * time.Second

// ours is a function of the daemon, restored by its default policy.
type ours struct {
	client   *client.Client
	function string
	names    []string
	onDemand bool
}

// prepareOurs records the working sets anew, with the event that is measured, and
// returns what the function replies and its description then.
func prepareOurs(ctx context.Context, c *client.Client, function string, event []byte) (reply []byte, d thaw.Description, err error) {
	if err := c.EndIdle(ctx, function); err != nil {
		return nil, d, err
	}
	for _, p := range []thaw.Policy{thaw.PolicyThaw, thaw.PolicyFaaSnap} { // of these and the traces auto chooses
		if _, err := bench.Record(ctx, c, function, bench.Input{Event: event}, p); err != nil {
			return nil, d, err
		}
	}
	r, err := c.Invoke(ctx, request(function, event, true))
	if err := failed(r, err); err != nil {
		return nil, d, err
	}
	d, err = bench.Describe(ctx, c, function)
	return r.Payload, d, err
}

func request(function string, event []byte, onDemand bool) thaw.InvokeRequest {
	return thaw.InvokeRequest{Function: function, Payload: event, Cold: true, Discard: true, Frozen: true, OnDemand: onDemand}
}

func failed(r thaw.Reply, err error) error {
	if err == nil && r.FunctionError != "" {
		err = thaw.Errorf(thaw.CodeFunction, "function %s failed: %s: %s", r.Function, r.FunctionError, r.Payload)
	}
	return err
}

func (o *ours) files() []string { return o.names }

func (o *ours) restore(ctx context.Context, event []byte) (*answer, error) {
	r, err := o.client.Invoke(ctx, request(o.function, event, o.onDemand))
	if err := failed(r, err); err != nil {
		return nil, err
	}
	return &answer{
		reply: r.Payload, policy: r.Policy, end: func() error { return nil },
		read: func(ctx context.Context) (int64, error) { return o.read(ctx, r.ID) },
	}, nil
}

// read looks a start up in the daemon's records, and whether it was what it should
// have been.
func (o *ours) read(ctx context.Context, id string) (int64, error) {
	r, err := o.client.Invocation(ctx, id)
	switch {
	case err != nil:
		return 0, err
	case r.Start != thaw.StartCold:
		err = errors.New("the start was " + string(r.Start) + ": " + r.Reason)
	case r.Layout != nil && r.Layout.Recording != "":
		err = errors.New("the start recorded a working set: " + r.Reason)
	case r.Prestarted == o.onDemand:
		err = errors.New("somebody else took the VMM that was waiting")
	}
	if err != nil {
		return 0, thaw.Errorf(thaw.CodeConflict, "%w: is something else using the daemon?", err)
	}
	return r.BytesRead, nil
}
