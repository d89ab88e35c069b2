package oci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"thaw"
)

// stallTime is how long a registry may send nothing.
const stallTime = time.Minute

// registry is a repository of a registry as a source.
type registry struct {
	repository name.Repository
	puller     *remote.Puller
}

// ParseRemote returns the reference that text is to an image in a registry, or a
// [thaw.CodeInvalid] error. Insecure is whether it may be got without TLS.
func ParseRemote(text string, insecure bool) (name.Reference, error) {
	var opts []name.Option
	if insecure {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(text, opts...)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "image reference %.200q is not valid: %w", text, err)
	}
	return ref, nil
}

// Remote finds the image for this platform in a registry. It signs in as the
// Docker configuration of the user says that this process runs as.
func Remote(ctx context.Context, ref name.Reference) (*Image, error) {
	tr := &http.Transport{}
	if t, ok := remote.DefaultTransport.(*http.Transport); ok {
		tr = t.Clone()
	}
	tr.ResponseHeaderTimeout = stallTime
	puller, err := remote.NewPuller(remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithTransport(tr), remote.WithUserAgent("thaw"))
	if err != nil {
		return nil, remoteError(ctx, ref, err)
	}
	found, err := puller.Get(ctx, ref)
	if err != nil {
		return nil, remoteError(ctx, ref, err)
	}
	return resolve(ctx, registry{ref.Context(), puller}, document{found.Descriptor, found.Manifest})
}

func (r registry) manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ref := r.repository.Digest(d.Digest.String())
	found, err := r.puller.Get(ctx, ref)
	if err != nil {
		return nil, remoteError(ctx, ref, err)
	}
	return io.NopCloser(bytes.NewReader(found.Manifest)), nil
}

func (r registry) blob(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ref := r.repository.Digest(d.Digest.String())
	ctx, cancel := context.WithCancelCause(ctx)
	l, err := r.puller.Layer(ctx, ref)
	if err == nil {
		var body io.ReadCloser
		if body, err = l.Compressed(); err == nil {
			return patient(ctx, cancel, ref, body), nil
		}
	}
	cancel(nil)
	return nil, remoteError(ctx, ref, err)
}

// patient reads a body until it stalls.
func patient(ctx context.Context, cancel context.CancelCauseFunc, ref name.Reference, body io.ReadCloser) io.ReadCloser {
	stalled := thaw.Errorf(thaw.CodeUnavailable, "the registry %s stalled: nothing came for %s, try again", ref.Context().RegistryStr(), stallTime)
	return &stalling{ReadCloser: body, ctx: ctx, ref: ref, cancel: cancel, timer: time.AfterFunc(stallTime, func() { cancel(stalled) })}
}

type stalling struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the one request whose body this is
	ref    name.Reference
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.timer.Reset(stallTime)
	if err != nil && !errors.Is(err, io.EOF) {
		err = remoteError(s.ctx, s.ref, err)
	}
	return n, err
}

func (s *stalling) Close() error {
	s.timer.Stop()
	s.cancel(nil)
	return s.ReadCloser.Close()
}

// remoteError says what is wrong when a registry refuses or cannot be reached.
func remoteError(ctx context.Context, ref name.Reference, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*transport.Error](err); ok {
		switch e.StatusCode {
		case http.StatusNotFound:
			return thaw.Errorf(thaw.CodeInvalid, "there is no %s: look for the name and the tag: %w", ref, err)
		case http.StatusUnauthorized, http.StatusForbidden:
			return thaw.Errorf(thaw.CodeInvalid, "the registry does not let the daemon have %s: if there is one, run `docker login %s` as the daemon's user: %w", ref, ref.Context().RegistryStr(), err)
		}
	}
	return thaw.Errorf(thaw.CodeUnavailable, "%s cannot be pulled: check the network and the registry's name, and whether it needs --insecure: %w", ref, err)
}
