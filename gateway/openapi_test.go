package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"thaw"
	"thaw/docs"
	"thaw/gateway/api"
	"thaw/gateway/lambda"
	"thaw/image"
)

// document returns the description of the interface.
func document(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIIsValid(t *testing.T) {
	if err := document(t).Validate(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	url, _ := start(t, fakeEngine{})
	if got := do(t, "GET", url+"/openapi.yaml", nil, nil); got.status != 200 || got.body != string(docs.OpenAPI) || got.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%d %v", got.status, got.header)
	}
	got := do(t, "GET", url+"/openapi.json", nil, nil)
	doc, err := openapi3.NewLoader().LoadFromData([]byte(got.body))
	if err != nil || !json.Valid([]byte(got.body)) || doc.Paths.Len() != document(t).Paths.Len() {
		t.Errorf("%d %.100s: %v", got.status, got.body, err)
	}
}

// TestOpenAPIHasTheRoutes compares the document with the server's own table.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	served := map[string][]string{} // METHOD path → query parameters
	for _, r := range (handlers{}).routes() {
		path, older := strings.CutSuffix(strings.ReplaceAll(r.pattern, "...}", "}"), "/{$}")
		for method, e := range r.methods {
			if !older {
				served[method+" "+path] = slices.Sorted(slices.Values(e.query))
			}
		}
	}
	described := map[string][]string{}
	for path, item := range document(t).Paths.Map() {
		for method, op := range item.Operations() {
			described[method+" "+path] = queryOf(op)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		want, got := served[name], described[name]
		if _, ok := described[name]; !ok {
			t.Errorf("docs/openapi.yaml lacks %s", name)
		} else if !slices.Equal(want, got) && !slices.Equal(want, []string{ownQuery}) {
			t.Errorf("docs/openapi.yaml: %s has the query parameters %v, the server takes %v", name, got, want)
		}
		delete(described, name)
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("docs/openapi.yaml has %s, which is not served", name)
	}
}

func queryOf(op *openapi3.Operation) (names []string) {
	for _, p := range op.Parameters {
		if p.Value.In == openapi3.ParameterInQuery {
			names = append(names, p.Value.Name)
		}
	}
	slices.Sort(names)
	return names
}

// schemaTypes are the types whose JSON the schemas of the document describe.
func schemaTypes() map[string]reflect.Type {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		thaw.Settings{}, thaw.Description{}, thaw.MemoryMap{}, thaw.Invocation{}, thaw.Snapshot{},
		api.Error{}, api.LambdaError{}, api.DeployLine{}, api.CheckLine{}, api.Snapshots{}, api.Queue{}, api.QueueItem{}, api.Count{}, api.Schedules{}, api.Secrets{}, api.Functions{}, api.Versions{}, api.Deploys{},
		api.Aliases{}, api.Alias{}, api.Instances{}, api.Logs{}, api.FollowLine{}, api.Info{}, api.OpenFaaSFunction{}, api.OpenFaaSInfo{}, api.OpenFaaSRemove{},
		lambda.CreateFunction{}, lambda.UpdateFunctionCode{}, lambda.UpdateFunctionConfiguration{}, lambda.PublishVersion{}, lambda.SetAlias{}, lambda.Function{}, lambda.Functions{},
		lambda.Versions{}, lambda.Alias{}, lambda.Aliases{}, lambda.PutFunctionConcurrency{}, lambda.Concurrency{},
	} {
		addType(types, reflect.TypeOf(v))
	}
	return types
}

// schemaName is that of a type in the document.
func schemaName(t reflect.Type) string {
	name := t.Name()
	switch t {
	case reflect.TypeFor[api.Alias]():
		return "SetAlias"
	case reflect.TypeFor[api.QueueItem]():
		return "QueueItemWithPayload"
	}
	if strings.HasSuffix(t.PkgPath(), "/lambda") {
		name = "Lambda" + strings.ToUpper(name[:1]) + name[1:]
	}
	return name
}

// addType adds a struct and those that its fields hold.
func addType(types map[string]reflect.Type, t reflect.Type) {
	switch {
	case t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[json.RawMessage]():
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		addType(types, t.Elem())
	case t.Kind() == reflect.Struct && types[schemaName(t)] == nil:
		types[schemaName(t)] = t
		fields, parts := jsonFields(t)
		for _, f := range fields {
			addType(types, f.Type)
		}
		for _, p := range parts {
			addType(types, p)
		}
	}
}

// jsonField is a field as JSON has it.
type jsonField struct {
	reflect.Type
	required bool
}

// jsonFields returns the fields of a struct by their names in JSON, and the structs
// that it is made of besides. Those that may be missing, or have no name outside of
// their package, count as its own fields.
func jsonFields(t reflect.Type) (fields map[string]jsonField, parts []reflect.Type) {
	fields = map[string]jsonField{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.IsExported() && f.Type.Kind() == reflect.Struct:
			parts = append(parts, f.Type)
		case f.Anonymous:
			embedded, missing := f.Type, f.Type.Kind() == reflect.Pointer
			if missing {
				embedded = embedded.Elem()
			}
			inner, _ := jsonFields(embedded)
			for name, field := range inner {
				fields[name] = jsonField{field.Type, field.required && !missing}
			}
		case f.IsExported() && name != "-":
			fields[cmp.Or(name, f.Name)] = jsonField{f.Type, options != "omitempty" && options != "omitzero"}
		}
	}
	return fields, parts
}

// TestOpenAPIHasTheFields compares the schemas of the document with the types that
// are sent and read.
func TestOpenAPIHasTheFields(t *testing.T) {
	schemas, types := document(t).Components.Schemas, schemaTypes()
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if schemas[name] == nil {
			t.Errorf("docs/openapi.yaml lacks the schema %s, of %s", name, types[name])
			continue
		}
		fields, parts := jsonFields(types[name])
		schema := schemas[name].Value
		for _, part := range schema.AllOf {
			if part.Ref == "" {
				schema = part.Value
			} else if i := slices.IndexFunc(parts, func(t reflect.Type) bool { return schemaName(t) == kindOfSchema(part) }); i >= 0 {
				parts = slices.Delete(parts, i, i+1)
			} else {
				t.Errorf("docs/openapi.yaml: schema %s has all of %s, and the type %s has not", name, kindOfSchema(part), types[name])
			}
		}
		for _, part := range parts {
			t.Errorf("docs/openapi.yaml: schema %s lacks all of %s", name, schemaName(part))
		}
		compareFields(t, name, schema, fields)
	}
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		if types[name] == nil {
			t.Errorf("docs/openapi.yaml has a schema %s of a type that is not known here", name)
		}
	}
}

func compareFields(t *testing.T, name string, schema *openapi3.Schema, fields map[string]jsonField) {
	t.Helper()
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		property := schema.Properties[field]
		if property == nil {
			t.Errorf("docs/openapi.yaml: schema %s lacks %s", name, field)
			continue
		}
		if want, got := kindOf(fields[field].Type), kindOfSchema(property); want != got {
			t.Errorf("docs/openapi.yaml: %s of schema %s is %s, and in Go %s", field, name, got, want)
		}
	}
	for _, field := range slices.Sorted(maps.Keys(schema.Properties)) {
		if _, ok := fields[field]; !ok {
			t.Errorf("docs/openapi.yaml: schema %s has %s, which is not sent", name, field)
		}
	}
	for _, field := range schema.Required {
		if !fields[field].required {
			t.Errorf("docs/openapi.yaml: schema %s requires %s, which may be left out", name, field)
		}
	}
}

// kindOf says in the document's words what JSON a type becomes, "" for any.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindOf(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Map:
		return "object"
	case reflect.Slice:
		if t == reflect.TypeFor[json.RawMessage]() {
			return ""
		}
		if t.Elem().Kind() == reflect.Uint8 {
			return "string"
		}
		return "array of " + kindOf(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return "string"
		}
		return schemaName(t)
	}
	return t.String()
}

func kindOfSchema(s *openapi3.SchemaRef) string {
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case len(s.Value.AllOf) == 1: // with a description of its own
		return kindOfSchema(s.Value.AllOf[0])
	case s.Value.Type == nil:
		return ""
	case s.Value.Type.Is("array"):
		return "array of " + kindOfSchema(s.Value.Items)
	}
	return strings.Join(s.Value.Type.Slice(), " or ")
}

// checked sends requests and compares them, and what comes back, with the document.
type checked struct {
	t      testing.TB
	router routers.Router
}

// router finds the operation of a request; reading the document takes a while.
var router = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		return nil, err
	}
	doc.Servers = nil // any
	return legacy.NewRouter(doc)
})

func newChecked(t testing.TB) checked {
	r, err := router()
	if err != nil {
		t.Fatal(err)
	}
	return checked{t, r}
}

// ownPath is what follows a function's name on OpenFaaS's paths.
var ownPath = regexp.MustCompile(`^(/(?:async-)?function/[^/]+/)(.+)$`)

// described returns r as a router takes it: a parameter is one part of a path, and a
// body has a type.
func described(r *http.Request, body []byte) *http.Request {
	r = r.Clone(r.Context())
	if m := ownPath.FindStringSubmatch(r.URL.Path); m != nil {
		r.URL.Path = m[1] + strings.ReplaceAll(m[2], "/", "_")
	}
	if r.Header.Get("Content-Type") == "" && len(body) > 0 {
		r.Header.Set("Content-Type", api.TypeJSON)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// compare reports where an exchange is not as the document has it. A request that is
// refused may be anything.
func (c checked) compare(r *http.Request, body []byte, got answer) {
	c.t.Helper()
	r = described(r, body)
	route, parameters, err := c.router.FindRoute(r)
	if err != nil {
		if got.status < 400 && r.Method != http.MethodHead {
			c.t.Errorf("%s %s is answered with %d, and not in the document: %v", r.Method, r.URL.Path, got.status, err)
		}
		return
	}
	// Bodies that are streams, or the function's, have no schema.
	own := strings.HasPrefix(route.Path, "/function/") || strings.HasPrefix(route.Path, "/async-function/")
	options := &openapi3filter.Options{
		ExcludeRequestBody: own || !strings.HasPrefix(r.Header.Get("Content-Type"), api.TypeJSON), ExcludeResponseBody: own || got.header.Get("Content-Type") != api.TypeJSON,
		IncludeResponseStatus: true,
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: parameters, Route: route, Options: options}
	if got.status < 300 {
		if err := openapi3filter.ValidateRequest(c.t.Context(), in); err != nil {
			c.t.Errorf("%s %s was answered with %d, and the request is not as in the document: %v", r.Method, r.URL.Path, got.status, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: got.status, Header: got.header, Body: io.NopCloser(strings.NewReader(got.body)), Options: options}
	if err := openapi3filter.ValidateResponse(c.t.Context(), out); err != nil && r.Method != http.MethodHead {
		c.t.Errorf("the reply to %s %s is not as in the document: %v", r.Method, r.URL.Path, err)
	}
	if got.header.Get("Content-Type") == api.TypeNDJSON {
		c.compareLines(route, got)
	}
}

// compareLines checks each line of a reply by itself.
func (c checked) compareLines(route *routers.Route, got answer) {
	c.t.Helper()
	media := route.Operation.Responses.Status(got.status).Value.Content.Get(api.TypeNDJSON)
	for line := range strings.Lines(got.body) {
		var v any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			c.t.Errorf("line %q: %v", line, err)
		} else if err := media.Schema.Value.VisitJSON(v); err != nil {
			c.t.Errorf("line %.200q is not as in the document: %v", line, err)
		}
	}
}

func TestCodeLimits(t *testing.T) {
	if api.MaxCode != image.MaxCodeBytes || api.MaxCodeEntries != image.MaxCodeEntries {
		t.Error(fmt.Sprint(api.MaxCode, api.MaxCodeEntries), "are not what an image may hold")
	}
}
