package gateway

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"

	"thaw"
	"thaw/gateway/api"
	"thaw/gateway/lambda"
)

// codeLimits bound what an archive unpacks to.
func codeLimits() lambda.Limits {
	return lambda.Limits{Bytes: api.MaxCode, Entries: api.MaxCodeEntries}
}

// configurationOf returns what ref names, as clients are told of it. A deploy under way
// is told of as if it had worked, as Lambda does it.
func (h handlers) configurationOf(ctx context.Context, ref thaw.Ref) (lambda.Configuration, thaw.Version, error) {
	deployment, deploying := h.Publisher.Deployment(ref.Function)
	if ref.Qualifier != "" && ref.Qualifier != thaw.Latest {
		deploying = false
	}
	v, err := h.Finder.Find(ctx, ref.String())
	switch {
	case deploying && (!deployment.Failed() || deployment.First && thaw.CodeOf(err) == thaw.CodeNotFound):
		return lambda.ConfigureDeployment(deployment), deployment.Version, nil
	case err != nil:
		return lambda.Configuration{}, thaw.Version{}, err
	}
	c := lambda.Configure(ref, v)
	if deploying {
		c = c.Updated(deployment)
	}
	return c, v, nil
}

// configured returns the version that serves a function, given without a qualifier, or
// the one whose deploy is under way.
func (h handlers) configured(r *http.Request) (thaw.Version, error) {
	name, err := lambdaFunction(r)
	if err != nil {
		return thaw.Version{}, err
	}
	_, v, err := h.configurationOf(r.Context(), thaw.Ref{Function: name})
	return v, err
}

func (h handlers) getFunction(w http.ResponseWriter, r *http.Request) error {
	ref, err := lambdaRef(r)
	if err != nil {
		return err
	}
	c, v, err := h.configurationOf(r.Context(), ref)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.Describe(c, v))
	return nil
}

func (h handlers) getConfiguration(w http.ResponseWriter, r *http.Request) error {
	ref, err := lambdaRef(r)
	if err != nil {
		return err
	}
	c, _, err := h.configurationOf(r.Context(), ref)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, c)
	return nil
}

func (h handlers) listFunctions(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	all, err := h.configurations(r.Context(), query.Get("FunctionVersion"))
	if err != nil {
		return err
	}
	some, next, err := lambda.Page(all, func(c lambda.Configuration) string { return c.SortKey() }, query.Get("Marker"), query.Get("MaxItems"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.Functions{Functions: some, NextMarker: next})
	return nil
}

// configurations returns every function, and with which ALL every version.
func (h handlers) configurations(ctx context.Context, which string) ([]lambda.Configuration, error) {
	if which != "" && which != "ALL" {
		return nil, thaw.Errorf(thaw.CodeInvalid, "FunctionVersion %s is not valid: write ALL or leave it out", printable(which))
	}
	versions, err := h.Catalog.Functions(ctx)
	if err != nil {
		return nil, err
	}
	var all []lambda.Configuration
	for _, d := range h.Publisher.Deployments() {
		if d.First && !slices.ContainsFunc(versions, func(v thaw.Version) bool { return v.Function == d.Function }) {
			all = append(all, lambda.ConfigureDeployment(d))
		}
	}
	for _, v := range versions {
		c := lambda.Configure(thaw.Ref{Function: v.Function}, v)
		if d, ok := h.Publisher.Deployment(v.Function); ok {
			c = c.Updated(d)
		}
		all = append(all, c)
		if which == "" {
			continue
		}
		numbered, err := h.numbered(ctx, v.Function)
		if err != nil {
			return nil, err
		}
		all = append(all, numbered...)
	}
	slices.SortFunc(all, func(a, b lambda.Configuration) int { return cmp.Compare(a.SortKey(), b.SortKey()) })
	return all, nil
}

func (h handlers) createFunction(w http.ResponseWriter, r *http.Request) error {
	var body lambda.CreateFunction
	return h.readArchive(w, r, &body, func() error {
		request, archive, err := body.Request()
		if err != nil {
			return tooLarge(err)
		}
		if d, ok := h.Publisher.Deployment(request.Function); ok && d.First && d.Failed() {
			return h.notYet(request.Function, thaw.Errorf(thaw.CodeNotFound, "it could not be created"))
		}
		c, err := h.publish(r.Context(), request, archive, body.Publish)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusCreated, c)
		return nil
	})
}

// publish begins a deploy, of the files of an archive if there is one. It is told of by its number when that is wanted.
func (h handlers) publish(ctx context.Context, request thaw.PublishRequest, archive []byte, numbered bool) (lambda.Configuration, error) {
	if archive != nil {
		code, end := unpack(ctx, archive)
		defer end()
		request.Code = code
	}
	d, err := h.Publisher.Publish(ctx, request)
	if err != nil {
		return lambda.Configuration{}, tooLarge(err)
	}
	c := lambda.ConfigureDeployment(d)
	if numbered {
		c = c.Numbered(d.Version)
	}
	return c, nil
}

// unpack streams the files of an archive; end ends the goroutine that writes.
func unpack(ctx context.Context, archive []byte) (code io.Reader, end func()) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(lambda.Unpack(ctx, archive, codeLimits(), w)) // always returns nil
	}()
	return r, func() {
		r.Close() // always returns nil
		<-done
	}
}

// updatable returns the version that serves of a function that is to be changed, when
// it is as the client thinks.
func (h handlers) updatable(r *http.Request, revision string) (thaw.Version, error) {
	name, err := lambdaFunction(r)
	if err != nil {
		return thaw.Version{}, err
	}
	v, err := h.Finder.Find(r.Context(), name)
	if err != nil {
		return thaw.Version{}, h.notYet(name, err)
	}
	if x, ok := h.Publisher.Deployment(name); ok && !x.Failed() {
		return thaw.Version{}, thaw.Errorf(thaw.CodeConflict, "function %s is being updated: wait until its LastUpdateStatus is Successful", name)
	}
	return v, checkRevision(revision, lambda.RevisionOf(v))
}

func (h handlers) updateCode(w http.ResponseWriter, r *http.Request) error {
	var body lambda.UpdateFunctionCode
	return h.readArchive(w, r, &body, func() error {
		v, err := h.updatable(r, body.RevisionID)
		if err != nil {
			return err
		}
		request, archive, err := body.Request(v)
		if err != nil {
			return tooLarge(err)
		}
		if body.DryRun && archive != nil {
			if err := lambda.Check(r.Context(), archive, codeLimits()); err != nil {
				return tooLarge(err)
			}
		}
		return h.update(w, r, v, request, archive, updateWay{body.DryRun, body.Publish})
	})
}

func (h handlers) updateConfiguration(w http.ResponseWriter, r *http.Request) error {
	var body lambda.UpdateFunctionConfiguration
	if err := readLambda(w, r, &body); err != nil {
		return err
	}
	v, err := h.updatable(r, body.RevisionID)
	if err != nil {
		return err
	}
	request, err := body.Request(v)
	if err != nil {
		return err
	}
	return h.update(w, r, v, request, nil, updateWay{})
}

// updateWay says how an update is meant.
type updateWay struct{ dry, numbered bool }

// update begins a deploy, unless it would make again what v is.
func (h handlers) update(w http.ResponseWriter, r *http.Request, v thaw.Version, request thaw.PublishRequest, archive []byte, way updateWay) error {
	var c lambda.Configuration
	var err error
	switch {
	case way.dry || lambda.Unchanged(v, request):
		v.Settings = request.Settings
		if c = lambda.Configure(thaw.Ref{Function: v.Function}, v); way.numbered {
			c = c.Numbered(v)
		}
	default:
		c, err = h.publish(r.Context(), request, archive, way.numbered)
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, c)
	return nil
}

func (h handlers) deleteFunction(w http.ResponseWriter, r *http.Request) error {
	ref, err := lambdaRef(r)
	if err != nil {
		return err
	}
	if ref.Qualifier != "" && ref.Number() == 0 {
		return thaw.Errorf(thaw.CodeInvalid, "%s is not a version's number: leave the qualifier out to delete the function, delete an alias as such", ref.Qualifier)
	}
	if err := h.removeNamed(r.Context(), ref.String()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
