package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"thaw"
	"thaw/gateway/api"
)

// handler answers one request or returns an error before it has written
// anything.
type handler func(http.ResponseWriter, *http.Request) error

// endpoint is a method of a path with the query parameters it knows.
type endpoint struct {
	handle handler
	query  []string
}

// ownQuery is of an endpoint whose query is the function's own.
const ownQuery = "*"

// route is a path with its methods.
type route struct {
	pattern string
	methods map[string]endpoint
}

func (h handlers) routes() []route {
	return append(h.lambdaRoutes(), h.ownRoutes()...)
}

func (h handlers) ownRoutes() []route {
	function, snapshot, item := api.PathFunctions+"/{name}", api.PathSnapshots+"/{snapshot}", api.PathQueue+"/{item}"
	return []route{
		{api.PathOpenFaaS + "/{name}", everyMethod(h.openFaaS)},
		{api.PathOpenFaaS + "/{name}/{path...}", everyMethod(h.openFaaS)},
		{api.PathOpenFaaSAsync + "/{name}", everyMethod(h.openFaaSAsync)},
		{api.PathOpenFaaSAsync + "/{name}/{path...}", everyMethod(h.openFaaSAsync)},
		{api.PathOpenFaaSList, map[string]endpoint{
			http.MethodGet:    {h.openFaaSList, []string{"namespace"}},
			http.MethodDelete: {h.openFaaSRemove, []string{"namespace"}},
		}},
		{api.PathOpenFaaSInfo, map[string]endpoint{
			http.MethodGet: {h.openFaaSInfo, nil},
		}},
		{api.PathOpenFaaSSecrets, map[string]endpoint{
			http.MethodGet:    {h.openFaaSSecrets, []string{"namespace"}},
			http.MethodPost:   {h.openFaaSSetSecret, []string{"namespace"}},
			http.MethodPut:    {h.openFaaSSetSecret, []string{"namespace"}},
			http.MethodDelete: {h.openFaaSRemoveSecret, []string{"namespace"}},
		}},
		{api.PathSecrets, map[string]endpoint{
			http.MethodGet: {h.secrets, nil},
		}},
		{api.PathSecrets + "/{secret}", map[string]endpoint{
			http.MethodPut:    {h.setSecret, nil},
			http.MethodDelete: {h.removeSecret, nil},
		}},
		{api.PathQueue, map[string]endpoint{
			http.MethodGet:    {h.queue, []string{"state", "function"}},
			http.MethodDelete: {h.purge, []string{"state", "function"}},
		}},
		{api.PathQueue + api.PathRedriveSuffix, map[string]endpoint{
			http.MethodPost: {h.redrive, []string{"function"}},
		}},
		{item, map[string]endpoint{
			http.MethodGet:    {h.queueItem, nil},
			http.MethodDelete: {h.purge, nil},
		}},
		{item + api.PathRedriveSuffix, map[string]endpoint{
			http.MethodPost: {h.redrive, nil},
		}},
		{api.PathSchedules, map[string]endpoint{
			http.MethodGet: {h.schedules, nil},
		}},
		{api.PathSchedules + "/{schedule}", map[string]endpoint{
			http.MethodPut:    {h.setSchedule, nil},
			http.MethodDelete: {h.removeSchedule, nil},
		}},
		{api.PathFunctions, map[string]endpoint{
			http.MethodGet: {h.functions, []string{"after", "limit", "prefix"}},
		}},
		{function, map[string]endpoint{
			http.MethodGet:    {h.describe, nil},
			http.MethodPut:    {h.deploy, []string{"detach"}},
			http.MethodDelete: {h.remove, nil},
		}},
		{function + api.PathVersionsSuffix, map[string]endpoint{
			http.MethodGet: {h.versions, nil},
		}},
		{function + api.PathRollbackSuffix, map[string]endpoint{
			http.MethodPost: {h.rollback, []string{"version"}},
		}},
		{function + api.PathAliasesSuffix, map[string]endpoint{
			http.MethodGet: {h.aliases, nil},
		}},
		{function + api.PathAliasesSuffix + "/{alias}", map[string]endpoint{
			http.MethodPut:    {h.setAlias, nil},
			http.MethodDelete: {h.removeAlias, nil},
		}},
		{function + api.PathMemorySuffix, map[string]endpoint{
			http.MethodGet: {h.memory, []string{"policy"}},
		}},
		{function + api.PathLogsSuffix, map[string]endpoint{
			http.MethodGet: {h.logs, []string{"follow", "limit", "request", "since"}},
		}},
		{function + api.PathInstancesSuffix, map[string]endpoint{
			http.MethodDelete: {h.endIdle, nil},
		}},
		{api.PathDeploys, map[string]endpoint{
			http.MethodGet: {h.publishes, nil},
		}},
		{api.PathInstances, map[string]endpoint{
			http.MethodGet: {h.instances, nil},
		}},
		{api.PathInvocations + "/{id}", map[string]endpoint{
			http.MethodGet: {h.invocation, nil},
		}},
		{api.PathSnapshots, map[string]endpoint{
			http.MethodGet: {h.snapshots, nil},
		}},
		{snapshot, map[string]endpoint{
			http.MethodGet:    {h.snapshot, nil},
			http.MethodDelete: {h.removeSnapshot, nil},
		}},
		{snapshot + api.PathVerifySuffix, map[string]endpoint{
			http.MethodPost: {h.verifySnapshot, nil},
		}},
		{api.PathInfo, map[string]endpoint{
			http.MethodGet: {h.info, nil},
		}},
		{api.PathHealth, map[string]endpoint{
			http.MethodGet: {h.health, nil},
		}},
		{api.PathMetrics, map[string]endpoint{
			http.MethodGet: {h.metrics, nil},
		}},
		{api.PathOpenAPIYAML, map[string]endpoint{
			http.MethodGet: {h.openAPIYAML, nil},
		}},
		{api.PathOpenAPIJSON, map[string]endpoint{
			http.MethodGet: {h.openAPIJSON, nil},
		}},
	}
}

// everyMethod is of a path whose methods are the function's own.
func everyMethod(f handler) map[string]endpoint {
	methods := map[string]endpoint{}
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions} {
		methods[m] = endpoint{f, []string{ownQuery}}
	}
	return methods
}

// New returns the handler for everything a gateway serves. It may be used by
// many requests at once.
func New(c Config) http.Handler {
	h := handlers{c, make(chan struct{}, uploadsAtOnce), &sync.Mutex{}}
	mux := http.NewServeMux()
	for _, r := range h.routes() {
		mux.Handle(r.pattern, h.reply(r.serve))
	}
	mux.Handle("/", h.reply(unknownPath))
	return h.observe(h.protect(h.ownPaths(mux)))
}

// ownPaths serves what is below the name of a function, which is the function's own and
// reaches it as it was written: next, a mux, would clean it.
func (h handlers) ownPaths(next http.Handler) http.Handler {
	routes := map[string]http.Handler{}
	for _, r := range h.routes() {
		if prefix, ok := strings.CutSuffix(r.pattern, "/{name}/{path...}"); ok {
			routes[prefix] = h.reply(r.serve)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for prefix, own := range routes {
			rest, ok := strings.CutPrefix(r.URL.Path, prefix+"/")
			if name, path, _ := strings.Cut(rest, "/"); ok && name != "" {
				r.SetPathValue("name", name)
				r.SetPathValue("path", path)
				own.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// serve picks the endpoint for the request's method. The mux is not asked to:
// its own refusals are not JSON.
func (t route) serve(w http.ResponseWriter, r *http.Request) error {
	e, ok := t.methods[r.Method]
	if !ok && r.Method == http.MethodHead {
		e, ok = t.methods[http.MethodGet]
	}
	if !ok {
		return t.refuseMethod(w, r)
	}
	if err := checkQuery(r.URL.RawQuery, e.query); err != nil {
		return err
	}
	if err := t.checkPath(r); err != nil {
		return err
	}
	return e.handle(w, r)
}

// checkPath wants names in the path that can be.
func (t route) checkPath(r *http.Request) error {
	switch {
	case strings.Contains(t.pattern, "{alias}"):
		return errors.Join(thaw.CheckName(r.PathValue("name")), thaw.CheckAlias(r.PathValue("alias")))
	case strings.Contains(t.pattern, "{name}"):
		_, err := thaw.ParseRef(r.PathValue("name"))
		return err
	case strings.Contains(t.pattern, "{secret}"):
		return thaw.CheckSecretName(r.PathValue("secret"))
	case strings.Contains(t.pattern, "{schedule}"):
		return thaw.CheckName(r.PathValue("schedule"))
	case strings.Contains(t.pattern, "{snapshot}"):
		return thaw.CheckSnapshotID(r.PathValue("snapshot"))
	case strings.Contains(t.pattern, "{item}"):
		return thaw.CheckItemID(r.PathValue("item"))
	}
	return nil
}

// refuseMethod answers a method that the path has not. In the Lambda API one that would
// change something is an operation that there is not.
func (t route) refuseMethod(w http.ResponseWriter, r *http.Request) error {
	if isLambda(r.URL.Path) && slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodDelete}, r.Method) {
		return notSupported(r)
	}
	var allowed []string
	for method := range t.methods {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	list := strings.Join(allowed, ", ")
	w.Header().Set("Allow", list)
	return httpError{http.StatusMethodNotAllowed, "", thaw.Errorf(thaw.CodeInvalid, "method %.20q is not allowed for %s: use %s", r.Method, printable(r.URL.Path), list)}
}

func unknownPath(_ http.ResponseWriter, r *http.Request) error {
	if isLambda(r.URL.Path) {
		return notSupported(r)
	}
	return thaw.Errorf(thaw.CodeNotFound, "there is no %s: functions are under %s, invocations under %s{name}%s", printable(r.URL.Path), api.PathFunctions, api.PathInvokePrefix, api.PathInvokeSuffix)
}

func checkQuery(raw string, known []string) error {
	if slices.Contains(known, ownQuery) {
		return nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "the query of the address cannot be read: %w", err)
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			return thaw.Errorf(thaw.CodeInvalid, "unknown query parameter %s: %s", printable(name), knownParameters(known))
		}
		if len(values) > 1 {
			return thaw.Errorf(thaw.CodeInvalid, "query parameter %s is given %d times: give it once", name, len(values))
		}
	}
	return nil
}

func knownParameters(known []string) string {
	if len(known) == 0 {
		return "this address takes none"
	}
	return "this address takes " + strings.Join(known, ", ")
}
