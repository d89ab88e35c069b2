package gateway

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"thaw"
	"thaw/gateway/api"
	"thaw/gateway/lambda"
	"thaw/registry"
)

// keeper keeps functions in a registry. A deploy ends when the test says so.
type keeper struct {
	fakeEngine
	*registry.DB
	deployment *thaw.Deployment
	files      []string // of the last deploy
}

func newKeeper(t *testing.T) *keeper {
	db, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &keeper{fakeEngine: fakeEngine{invoke: echo}, DB: db}
}

func (k *keeper) Publish(_ context.Context, r thaw.PublishRequest) (thaw.Deployment, error) {
	_, err := k.Get(r.Function)
	if r.New && err == nil {
		return thaw.Deployment{}, thaw.Errorf(thaw.CodeConflict, "function %s exists already", r.Function)
	}
	if k.files = nil; r.Code != nil {
		for tr := tar.NewReader(r.Code); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return thaw.Deployment{}, err
			}
			k.files = append(k.files, h.Name)
		}
	}
	number, e := k.NextVersion(r.Function)
	v := thaw.Version{Function: r.Function, Number: number, Settings: r.Settings, Created: time.Now(), Snapshot: "s"}
	k.deployment = &thaw.Deployment{Version: v, First: err != nil, Began: time.Now()}
	return *k.deployment, e
}

// end ends a deploy, with an error or a version.
func (k *keeper) end(t *testing.T, reason string) {
	t.Helper()
	if reason != "" {
		k.deployment.Reason, k.deployment.ReasonCode = reason, thaw.CodeFunction
		return
	}
	if _, err := k.Put(k.deployment.Version); err != nil {
		t.Fatal(err)
	}
	k.deployment = nil
}

func (k *keeper) Deployment(name string) (thaw.Deployment, bool) {
	if k.deployment == nil || k.deployment.Function != name {
		return thaw.Deployment{}, false
	}
	return *k.deployment, true
}

func (k *keeper) Deployments() []thaw.Deployment {
	if k.deployment == nil {
		return nil
	}
	return []thaw.Deployment{*k.deployment}
}

func (k *keeper) Annotate(_ context.Context, name string, number int, description string) error {
	return k.Update(name, number, func(v *thaw.Version) error { v.Description = description; return nil })
}

func (k *keeper) Find(_ context.Context, name string) (thaw.Version, error) {
	ref, err := thaw.ParseRef(name)
	if err != nil {
		return thaw.Version{}, err
	}
	return k.Resolve(ref, 1)
}

func (k *keeper) Functions(context.Context) ([]thaw.Version, error) { return k.List() }

func (k *keeper) Page(context.Context, thaw.FunctionQuery) ([]thaw.Version, bool, error) {
	all, err := k.List()
	return all, false, err
}

func (k *keeper) Versions(_ context.Context, name string) (infos []thaw.VersionInfo, err error) {
	all, err := k.DB.Versions(name)
	for _, v := range all {
		infos = append([]thaw.VersionInfo{{Version: v}}, infos...)
	}
	return infos, err
}

func (k *keeper) Rollback(_ context.Context, name string, number int) (thaw.Version, error) {
	v, _, err := k.DB.Rollback(name, number)
	return v, err
}

func (k *keeper) Aliases(_ context.Context, name string) ([]thaw.Alias, error) {
	f, err := k.Function(name)
	return f.Aliases, err
}

func (k *keeper) SetAlias(_ context.Context, name string, a thaw.Alias) error {
	_, err := k.DB.SetAlias(name, a)
	return err
}

func (k *keeper) RemoveAlias(_ context.Context, name, alias string) error {
	_, err := k.DB.RemoveAlias(name, alias)
	return err
}

func (k *keeper) Remove(_ context.Context, name string) error {
	if k.deployment != nil && k.deployment.First && k.deployment.Function == name {
		k.deployment = nil
		return nil
	}
	return k.Delete(name)
}

// zipped is an archive of files in base64.
func zipped(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		if _, err := w.Create(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

const functionsURL = "/2015-03-31/functions"

// step is a request of the Lambda API and what it is answered with.
type step struct {
	method, path, body string
	status             int
	want               string // in the body, or the error's type
}

func (s step) run(t *testing.T, url string) answer {
	t.Helper()
	got := do(t, s.method, url+s.path, nil, strings.NewReader(s.body))
	if kind := got.header.Get(api.HeaderErrorType); got.status != s.status || !strings.Contains(kind+" "+got.body, s.want) {
		t.Errorf("%s %s: %d %s %s; want %d, %s", s.method, s.path, got.status, kind, got.body, s.status, s.want)
	}
	return got
}

func TestLambdaAPI(t *testing.T) {
	k := newKeeper(t)
	url, _ := start(t, k)
	const hello = functionsURL + "/hello"
	create := `{"FunctionName": "hello", "Runtime": "python3.12", "Handler": "app.handler", "Role": "r", "Tags": {"a": "b"}, "Code": {"ZipFile": "` + zipped(t, "app.py") + `"}}`
	run := func(steps ...step) {
		t.Helper()
		for _, s := range steps {
			s.run(t, url)
		}
	}
	run(
		step{"GET", functionsURL, "", 200, `{"Functions":[]}`},
		step{"GET", functionsURL + "/", "", 200, `{"Functions":[]}`},
		step{"GET", hello, "", 404, "ResourceNotFoundException"},
		step{"GET", hello + "/aliases", "", 404, "ResourceNotFoundException"},
		step{"POST", functionsURL, create, 201, `"State":"Pending"`},
		step{"GET", hello, "", 200, `"State":"Pending"`},
		step{"GET", hello + "/configuration", "", 200, `"StateReasonCode":"Creating"`},
		step{"GET", hello + "/versions", "", 200, `"Version":"$LATEST"`},
		step{"GET", functionsURL, "", 200, `"State":"Pending"`},
		step{"GET", hello + "/aliases", "", 409, "ResourceConflictException"},
		step{"PUT", hello + "/configuration", "{}", 409, "ResourceConflictException"},
	)
	if strings.Join(k.files, " ") != "app.py" {
		t.Errorf("the deploy got %v", k.files)
	}
	k.end(t, "")
	run(
		step{"POST", functionsURL, create, 409, "ResourceConflictException"},
		step{"GET", hello, "", 200, `"State":"Active"`},
		step{"GET", hello + "?Qualifier=1", "", 200, `"Version":"1"`},
		step{"GET", hello + "?Qualifier=2", "", 404, "ResourceNotFoundException"},
		step{"GET", functionsURL + "/arn:aws:lambda:x:123456789012:function:hello:1/configuration", "", 200, `function:hello:1"`},
		step{"PUT", hello + "/code", `{"ZipFile": "` + zipped(t, "app.py") + `"}`, 200, `"LastUpdateStatus":"Successful"`}, // the same
		step{"PUT", hello + "/code", `{"ZipFile": "` + zipped(t, "app.py", "b.py") + `", "DryRun": true}`, 200, `"LastUpdateStatus":"Successful"`},
		step{"PUT", hello + "/code", `{"ZipFile": "` + zipped(t, "app.py", "b.py") + `", "Publish": true}`, 200, `"Version":"2"`},
		step{"GET", hello, "", 200, `"LastUpdateStatus":"InProgress"`},
		step{"GET", hello + ":1", "", 200, `"LastUpdateStatus":"Successful"`},
		step{"POST", hello + "/versions", "", 409, "ResourceConflictException"},
	)
	k.end(t, "")
	run(
		step{"POST", hello + "/versions", `{"Description": "two"}`, 201, `"Description":"two"`},
		step{"POST", hello + "/versions", `{"CodeSha256": "x"}`, 400, "InvalidParameterValueException"},
		step{"POST", hello + "/versions", `{"RevisionId": "x"}`, 412, "PreconditionFailedException"},
		step{"PUT", hello + "/configuration", `{"MemorySize": 512}`, 200, `"MemorySize":512`},
	)
	if len(k.files) != 0 {
		t.Errorf("the code was sent again: %v", k.files)
	}
	k.end(t, "no module")
	run(
		step{"GET", hello, "", 200, `"LastUpdateStatusReason":"no module"`},
		step{"GET", hello, "", 200, `"State":"Active"`},
		step{"GET", functionsURL, "", 200, `"LastUpdateStatus":"Failed"`},
		step{"GET", functionsURL + "?FunctionVersion=ALL&MaxItems=1", "", 200, `"NextMarker":"`},
		step{"GET", hello + "/versions", "", 200, `"Version":"2"`},
		step{"GET", "/2017-03-31/tags/hello", "", 200, `{"Tags":{"a":"b"}}`},

		step{"POST", hello + "/aliases", `{"Name": "live", "FunctionVersion": "1"}`, 201, `"FunctionVersion":"1"`},
		step{"POST", hello + "/aliases", `{"Name": "live", "FunctionVersion": "1"}`, 409, "ResourceConflictException"},
		step{"POST", hello + "/aliases", `{"Name": "7", "FunctionVersion": "1"}`, 400, "InvalidParameterValueException"},
		step{"POST", hello + "/aliases", `{"Name": "next", "FunctionVersion": "9"}`, 404, "ResourceNotFoundException"},
		step{"PUT", hello + "/aliases/live", `{"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.25}}}`, 200, `"2":0.25`},
		step{"PUT", hello + "/aliases/live", `{"RevisionId": "x"}`, 412, "PreconditionFailedException"},
		step{"PUT", hello + "/aliases/none", `{}`, 404, "ResourceNotFoundException"},
		step{"GET", hello + "/aliases/live", "", 200, `"Name":"live"`},
		step{"GET", hello + "/aliases?FunctionVersion=2", "", 200, `"Name":"live"`},
		step{"GET", hello + "/aliases?FunctionVersion=3", "", 200, `{"Aliases":[]}`},
		step{"DELETE", hello + "/aliases/live", "", 204, ""},
		step{"DELETE", hello + "/aliases/live", "", 204, ""},

		step{"DELETE", hello + ":live", "", 400, "InvalidParameterValueException"},
		step{"GET", hello + "/policy", "", 404, "ResourceNotFoundException"},
		step{"POST", "/2017-03-31/tags/arn:aws:lambda:local:000000000000:function:hello", `{"Tags": {"a": "c"}}`, 400, "NotSupportedException"},
		step{"DELETE", "/2017-03-31/tags/hello?tagKeys=a", "", 400, "NotSupportedException"},
		step{"PUT", "/2019-09-30/functions/hello/provisioned-concurrency?Qualifier=1", "{}", 400, "NotSupportedException"},
		step{"GET", functionsURL + "?MaxItems=0", "", 400, "InvalidParameterValueException"},
		step{"GET", functionsURL + "?FunctionVersion=x", "", 400, "InvalidParameterValueException"},
		step{"PATCH", hello, "", 405, "InvalidParameterValueException"},
		step{"GET", hello + ":1/versions", "", 400, "InvalidParameterValueException"},
		step{"GET", functionsURL + "/no%20name", "", 400, "InvalidParameterValueException"},
	)
}

// TestLambdaCreationFails has a function whose creation fails: it is there, cannot be
// invoked, and can be deleted.
func TestLambdaCreationFails(t *testing.T) {
	k := newKeeper(t)
	k.invoke = func(_ context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		_, err := k.Find(t.Context(), r.Function)
		return thaw.Reply{}, err
	}
	url, _ := start(t, k)
	create := `{"FunctionName": "bad", "Runtime": "provided.al2023", "Code": {"ZipFile": "` + zipped(t, "bootstrap") + `"}}`
	step{"POST", functionsURL, create, 201, `"State":"Pending"`}.run(t, url)
	step{"POST", functionsURL + "/bad/invocations", "", 409, "being created"}.run(t, url)
	k.end(t, "it exits")
	for _, s := range []step{
		{"GET", functionsURL + "/bad", "", 200, `"State":"Failed"`},
		{"GET", functionsURL + "/bad", "", 200, `"StateReasonCode":"FunctionError"`},
		{"POST", functionsURL + "/bad/invocations", "", 409, "it exits"},
		{"POST", functionsURL, create, 409, "delete it"},
		{"PUT", functionsURL + "/bad/configuration", "{}", 409, "ResourceConflictException"},
		{"DELETE", functionsURL + "/bad", "", 204, ""},
		{"GET", functionsURL + "/bad", "", 404, "ResourceNotFoundException"},
		{"POST", functionsURL, create, 201, `"State":"Pending"`},
	} {
		s.run(t, url)
	}
}

func TestLambdaUploads(t *testing.T) {
	url, _ := start(t, newKeeper(t))
	body := func(archive string) string {
		return `{"FunctionName": "hello", "Runtime": "python3.12", "Handler": "app.handler", "Code": {"ZipFile": "` + archive + `"}}`
	}
	for _, s := range []step{
		{"POST", functionsURL, "{", 400, "InvalidParameterValueException"},
		{"POST", functionsURL, body("UEsD"), 400, "not a zip archive"},
		{"POST", functionsURL, body(strings.Repeat("AAAA", lambda.MaxArchive/3+1)), 413, "RequestEntityTooLargeException"},
		{"POST", functionsURL, body(strings.Repeat("AAAA", maxUpload/4)), 413, "RequestEntityTooLargeException"},
		{"PUT", functionsURL + "/hello/configuration", `{"Description": "` + strings.Repeat("x", maxRequest) + `"}`, 413, "RequestEntityTooLargeException"},
	} {
		s.run(t, url)
	}
}

func TestClientContext(t *testing.T) {
	var seen thaw.InvokeRequest
	url, _ := start(t, fakeEngine{invoke: func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
		seen = r
		return echo(ctx, r)
	}})
	send := func(value string) answer {
		return do(t, "POST", url+functionsURL+"/123456789012:function:hello:live/invocations", http.Header{api.HeaderClientContext: {value}}, nil)
	}
	if got := send(base64.StdEncoding.EncodeToString([]byte(`{"custom":{}}`))); got.status != 200 || seen.ClientContext != `{"custom":{}}` || seen.Function != "hello:live" {
		t.Errorf("%d, %+v", got.status, seen)
	}
	for _, bad := range []string{"!", base64.StdEncoding.EncodeToString([]byte("[]")), base64.StdEncoding.EncodeToString([]byte(`{"a":"` + strings.Repeat("x", 4000) + `"}`))} {
		checkLambdaError(t, send(bad), 400, "InvalidParameterValueException", "User")
	}
}

// TestLambdaDocument compares docs/lambda-api.md with the routes: each operation that
// it says is there has one.
func TestLambdaDocument(t *testing.T) {
	raw, err := os.ReadFile("../docs/lambda-api.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z]+)` \\| ([A-Z]+) (/[^ ]+) \\|").FindAllStringSubmatch(string(raw), -1) {
		named[m[2]+" "+m[3]] = true
	}
	for path, item := range document(t).Paths.Map() {
		for method := range item.Operations() {
			if isLambda(path) && !named[method+" "+path] {
				t.Errorf("docs/lambda-api.md lacks %s %s", method, path)
			}
			delete(named, method+" "+path)
		}
	}
	for name := range named {
		t.Errorf("docs/lambda-api.md has %s, which is not served", name)
	}
}
