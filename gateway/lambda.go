package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"thaw"
	"thaw/gateway/api"
	"thaw/gateway/lambda"
)

const (
	// uploadsAtOnce bounds the archives in memory, maxUpload what a request with one is,
	// in bytes: it is in base64, and the rest is small. Whoever sends one at 250 KiB/s
	// has time enough.
	uploadsAtOnce = 4
	maxUpload     = lambda.MaxArchive/3*4 + maxRequest
	uploadTimeout = 5 * time.Minute
	// maxRequest is the largest body of any other request of the Lambda API.
	maxRequest = 256 << 10
	// maxClientContext is Lambda's limit of it, in base64.
	maxClientContext = 3583
)

var lambdaPath = regexp.MustCompile(`^/20[0-9]{2}-[0-9]{2}-[0-9]{2}/`)

// isLambda says that path belongs to the Lambda API: it begins with a date.
func isLambda(path string) bool { return lambdaPath.MatchString(path) }

// lambdaRoutes are those of the Lambda API; docs/lambda-api.md has the list of its
// operations.
func (h handlers) lambdaRoutes() []route {
	const name = "/{function}"
	one := api.PathLambda + name
	page := []string{"Marker", "MaxItems"}
	return []route{
		{api.PathLambda, h.lambdaFunctions()},
		{api.PathLambda + "/{$}", h.lambdaFunctions()}, // as older clients write it
		{one, map[string]endpoint{
			http.MethodGet:    {h.getFunction, []string{"Qualifier"}},
			http.MethodDelete: {h.deleteFunction, []string{"Qualifier"}},
		}},
		{one + "/configuration", map[string]endpoint{
			http.MethodGet: {h.getConfiguration, []string{"Qualifier"}},
			http.MethodPut: {h.updateConfiguration, nil},
		}},
		{one + "/code", map[string]endpoint{
			http.MethodPut: {h.updateCode, nil},
		}},
		{one + "/versions", map[string]endpoint{
			http.MethodGet:  {h.listVersions, page},
			http.MethodPost: {h.publishVersion, nil},
		}},
		{one + "/aliases", map[string]endpoint{
			http.MethodGet:  {h.listAliases, append(page, "FunctionVersion")},
			http.MethodPost: {h.createAlias, nil},
		}},
		{one + "/aliases/{lambdaAlias}", map[string]endpoint{
			http.MethodGet:    {h.getAlias, nil},
			http.MethodPut:    {h.updateAlias, nil},
			http.MethodDelete: {h.deleteAlias, nil},
		}},
		{one + api.PathInvokeSuffix, map[string]endpoint{
			http.MethodPost: {h.invoke, []string{"Qualifier"}},
		}},
		{api.PathLambdaAsync + name + "/invoke-async", map[string]endpoint{
			http.MethodPost: {h.invokeAsync, nil},
		}},
		{api.PathLambdaAsync + name + "/invoke-async/{$}", map[string]endpoint{
			http.MethodPost: {h.invokeAsync, nil},
		}},
		{api.PathLambdaConcurrency + name + "/concurrency", map[string]endpoint{
			http.MethodPut:    {h.putConcurrency, nil},
			http.MethodDelete: {h.deleteConcurrency, nil},
		}},
		{api.PathLambdaConcurrencyOf + name + "/concurrency", map[string]endpoint{
			http.MethodGet: {h.getConcurrency, nil},
		}},
		{api.PathLambdaTags + name, map[string]endpoint{
			http.MethodGet: {h.listTags, nil},
		}},
	}
}

func (h handlers) lambdaFunctions() map[string]endpoint {
	return map[string]endpoint{
		http.MethodGet:  {h.listFunctions, []string{"Marker", "MaxItems", "FunctionVersion", "MasterRegion"}},
		http.MethodPost: {h.createFunction, nil},
	}
}

// lambdaRef reads what a request of the Lambda API is about: the qualifier is in the
// path or in the query.
func lambdaRef(r *http.Request) (thaw.Ref, error) {
	return lambda.ParseName(r.PathValue("function"), r.URL.Query().Get("Qualifier"))
}

// lambdaFunction is the same for what is about a function as a whole.
func lambdaFunction(r *http.Request) (string, error) {
	ref, err := lambdaRef(r)
	if err == nil && ref.Qualifier != "" {
		err = thaw.Errorf(thaw.CodeInvalid, "%s has a qualifier, and this is about the whole function: write %s", ref, ref.Function)
	}
	return ref.Function, err
}

// readLambda reads a small request into v.
func readLambda(w http.ResponseWriter, r *http.Request, v any) error {
	raw, err := readBounded(w, r, maxRequest, bodyTimeout, func() error { return entityTooLarge(maxRequest) })
	if err != nil {
		return err
	}
	return lambda.Read(raw, v)
}

// readArchive reads a request with an archive into v and calls do. Few may be in
// memory at a time.
func (h handlers) readArchive(w http.ResponseWriter, r *http.Request, v any, do func() error) error {
	select {
	case h.uploads <- struct{}{}:
		defer func() { <-h.uploads }()
	case <-r.Context().Done():
		return context.Cause(r.Context())
	}
	raw, err := readBounded(w, r, maxUpload, uploadTimeout, func() error { return entityTooLarge(maxUpload) })
	if err != nil {
		return err
	}
	if err := lambda.Read(raw, v); err != nil {
		return err
	}
	return do()
}

func entityTooLarge(most int) error {
	return tooLarge(thaw.Errorf(thaw.CodeTooLarge, "the request is larger than %d bytes: that is the most it may be", most))
}

// tooLarge gives an error of too much code the name that it has in the Lambda API,
// where a request to invoke has another one.
func tooLarge(err error) error {
	if thaw.CodeOf(err) != thaw.CodeTooLarge {
		return err
	}
	return httpError{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", err}
}

// checkRevision refuses a change of what is not as the client thinks.
func checkRevision(want, got string) error {
	if want == "" || want == got {
		return nil
	}
	return httpError{http.StatusPreconditionFailed, "PreconditionFailedException",
		thaw.Errorf(thaw.CodeConflict, "RevisionId %.100q is not the latest (%s): read it again and decide anew", want, got)}
}

// notSupported answers an operation that there is not. Nothing can be read of what
// could not be made.
func notSupported(r *http.Request) error {
	err := fmt.Errorf("%s %s is not supported: docs/lambda-api.md lists the operations that are", r.Method, printable(r.URL.Path))
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return &thaw.Error{Code: thaw.CodeNotFound, Err: err}
	}
	return httpError{http.StatusBadRequest, "NotSupportedException", &thaw.Error{Code: thaw.CodeInvalid, Err: err}}
}

// notYet explains err, which says that a function is not there, when it is being made.
func (h handlers) notYet(name string, err error) error {
	if thaw.CodeOf(err) != thaw.CodeNotFound {
		return err
	}
	ref, bad := thaw.ParseRef(name)
	d, ok := h.Publisher.Deployment(ref.Function)
	switch {
	case bad != nil || !ok || !d.First:
		return err
	case d.Failed():
		return thaw.Errorf(thaw.CodeConflict, "function %s could not be created (%s): delete it and create it again", ref.Function, d.Reason)
	}
	return thaw.Errorf(thaw.CodeConflict, "function %s is being created: wait until its State is Active", ref.Function)
}

// clientContext returns the context that a client sends along, "" for none.
func clientContext(r *http.Request) (string, error) {
	value := r.Header.Get(api.HeaderClientContext)
	if value == "" {
		return "", nil
	}
	raw, err := base64.StdEncoding.DecodeString(value)
	var object map[string]any
	if err != nil || len(value) > maxClientContext || json.Unmarshal(raw, &object) != nil {
		return "", thaw.Errorf(thaw.CodeInvalid, "header %s is not valid: write a JSON object in base64, of at most %d bytes", api.HeaderClientContext, maxClientContext)
	}
	return string(raw), nil
}

// invokeAsync is what there was before X-Amz-Invocation-Type.
func (h handlers) invokeAsync(w http.ResponseWriter, r *http.Request) error {
	r.Header.Set(api.HeaderInvocationType, typeEvent)
	return h.invoke(w, r)
}

// listTags takes an ARN, or a name.
func (h handlers) listTags(w http.ResponseWriter, r *http.Request) error {
	v, err := h.configured(r)
	if err != nil {
		return err
	}
	tags := map[string]string{}
	if v.Lambda != nil && v.Lambda.Tags != nil {
		tags = v.Lambda.Tags
	}
	writeJSON(w, http.StatusOK, map[string]any{"Tags": tags})
	return nil
}
