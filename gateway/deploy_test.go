package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
	"thaw/gateway/api"
)

// form returns the body of a deploy with parts given as name, value, … and its
// content type.
func form(t testing.TB, parts ...string) (body []byte, kind string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(parts); i += 2 {
		if err := w.WriteField(parts[i], parts[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), w.FormDataContentType()
}

func putForm(t *testing.T, url, kind string, body io.Reader) answer {
	t.Helper()
	return do(t, "PUT", url+"/v1/functions/hello", http.Header{"Content-Type": {kind}}, body)
}

func lines(t *testing.T, body string) []api.DeployLine {
	t.Helper()
	var all []api.DeployLine
	for line := range strings.Lines(body) {
		var l api.DeployLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}

func TestDeploy(t *testing.T) {
	version := thaw.Version{Function: "hello", Number: 2}
	var gotSettings thaw.Settings
	var gotCode string
	url, _ := start(t, fakeEngine{deploy: func(_ context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
		raw, err := io.ReadAll(code)
		gotSettings, gotCode = s, string(raw)
		events(thaw.DeployEvent{Step: "build", Message: "building"})
		events(thaw.DeployEvent{Step: "build", Message: "built", DurationMS: 3})
		return version, err
	}})
	body, kind := form(t, "settings", `{"memory_bytes":134217728,"timeout_ns":1000000000,"env":{"K":"V"},"packages":["b2","a1","b2"]}`, "code", "a tar stream")
	got := putForm(t, url, kind, bytes.NewReader(body))
	want := thaw.Settings{Runtime: "python3", Handler: "app.handler", MemoryBytes: 128 << 20, Timeout: 1e9, Env: map[string]string{"K": "V"}, Packages: []string{"a1", "b2"}}
	if got.status != 200 || !cmp.Equal(gotSettings, want) || gotCode != "a tar stream" || got.header.Get("Content-Type") != api.TypeNDJSON {
		t.Fatalf("%+v, settings %+v, code %q", got, gotSettings, gotCode)
	}
	all := lines(t, got.body)
	if len(all) != 3 || all[0].Step != "build" || all[1].DurationMS != 3 || all[2].Version == nil || all[2].Version.Number != 2 {
		t.Errorf("lines %s", got.body)
	}
}

func TestDeployResultOnce(t *testing.T) {
	version := thaw.Version{Function: "hello", Number: 2}
	url, _ := start(t, fakeEngine{deploy: func(_ context.Context, _ string, _ thaw.Settings, _ io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
		events(thaw.DeployEvent{Step: "activate", Version: &version})
		return version, nil
	}})
	body, kind := form(t, "settings", `{}`, "code", "")
	if got := putForm(t, url, kind, bytes.NewReader(body)); strings.Count(got.body, `"result"`) != 1 {
		t.Error(got.body)
	}
}

// TestDeployStreams sends the second half of the code only when the event about
// the first has been read: nothing may wait for the whole body on either way.
func TestDeployStreams(t *testing.T) {
	url, _ := start(t, fakeEngine{deploy: func(_ context.Context, _ string, _ thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
		first := make([]byte, 4)
		if _, err := io.ReadFull(code, first); err != nil {
			return thaw.Version{}, err
		}
		events(thaw.DeployEvent{Step: "build", Message: string(first)})
		rest, err := io.ReadAll(code)
		events(thaw.DeployEvent{Step: "build", Message: string(rest[max(0, len(rest)-4):])})
		return thaw.Version{Number: 1}, err
	}})
	body, kind := form(t, "settings", `{}`, "code", "one two")
	cut := bytes.Index(body, []byte(" two"))
	r, w := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), "PUT", url+"/v1/functions/hello", r)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	sent := make(chan error, 1)
	resume := make(chan struct{})
	go func() {
		// More than what is read ahead of the engine.
		_, err := w.Write(append(bytes.Clone(body[:cut]), bytes.Repeat([]byte("."), 3*readAhead)...))
		<-resume
		_, err2 := w.Write(body[cut:])
		sent <- errors.Join(err, err2, w.Close())
	}()
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	scanner := bufio.NewScanner(reply.Body)
	if !scanner.Scan() || !strings.Contains(scanner.Text(), "one.") {
		t.Fatalf("first line %q, %v", scanner.Text(), scanner.Err())
	}
	close(resume)
	if !scanner.Scan() || !strings.Contains(scanner.Text(), " two") || !scanner.Scan() || !strings.Contains(scanner.Text(), `"result"`) {
		t.Fatalf("last line %.100q, %v", scanner.Text(), scanner.Err())
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestDeployRefusals(t *testing.T) {
	tests := []struct {
		name   string
		parts  []string
		kind   string // "" is that of the form
		status int
		text   string
	}{
		{name: "no form", kind: "application/json", status: 400, text: "multipart/form-data"},
		{name: "no boundary", kind: "multipart/form-data", status: 400, text: "multipart/form-data"},
		{name: "other boundary", kind: "multipart/form-data; boundary=x", parts: []string{"settings", "{}"}, status: 400, text: "settings"},
		{name: "no parts", status: 400, text: "part settings of the deploy is missing"},
		{name: "wrong order", parts: []string{"code", "x", "settings", "{}"}, status: 400, text: "where settings is due"},
		{name: "no code", parts: []string{"settings", "{}"}, status: 400, text: "part code of the deploy is missing"},
		{name: "unknown field", parts: []string{"settings", `{"memory":1}`, "code", ""}, status: 400, text: `unknown field \"memory\"`},
		{name: "not JSON", parts: []string{"settings", `memory`, "code", ""}, status: 400, text: "cannot be read"},
		{name: "two objects", parts: []string{"settings", `{}{}`, "code", ""}, status: 400, text: "one JSON object"},
		{name: "wrong type", parts: []string{"settings", `{"memory_bytes":"1"}`, "code", ""}, status: 400, text: "memory_bytes"},
		{name: "invalid", parts: []string{"settings", `{"memory_bytes":1}`, "code", ""}, status: 400, text: "out of range"},
		{name: "package", parts: []string{"settings", `{"packages":["a; b"]}`, "code", ""}, status: 400, text: "package name"},
		{name: "huge settings", parts: []string{"settings", `{"env":"` + strings.Repeat("x", api.MaxSettings) + `"}`, "code", ""}, status: 413, text: "settings are larger"},
	}
	url, _ := start(t, fakeEngine{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			body, kind := form(t, test.parts...)
			if test.kind != "" {
				kind = test.kind
			}
			got := putForm(t, url, kind, bytes.NewReader(body))
			if got.status != test.status || !strings.Contains(got.body, test.text) {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}

// TestRefusalReachesBusySender refuses a client in the middle of a large
// upload: it must read the reply, not a broken connection.
func TestRefusalReachesBusySender(t *testing.T) {
	url, _ := start(t, fakeEngine{})
	body, kind := form(t, "settings", `{"memory_bytes":1}`, "code", strings.Repeat("x", 8<<20))
	for range 5 {
		if got := putForm(t, url, kind, bytes.NewReader(body)); got.status != 400 {
			t.Fatalf("%d %s", got.status, got.body)
		}
	}
}

func TestDeployErrors(t *testing.T) {
	tests := []struct {
		name   string
		events int
		err    error
		status int
		code   thaw.Code
		text   string
	}{
		{"before events", 0, thaw.Errorf(thaw.CodeConflict, "another deploy runs"), 409, thaw.CodeConflict, "another deploy runs"},
		{"init failed", 0, thaw.Errorf(thaw.CodeFunction, "no module"), 422, thaw.CodeFunction, "no module"},
		{"after events", 2, thaw.Errorf(thaw.CodeFunction, "no module"), 200, thaw.CodeFunction, "no module"},
		{"internal after events", 1, errors.New("write /secret: no space"), 200, thaw.CodeInternal, "see the daemon's log"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url, log := start(t, fakeEngine{deploy: func(_ context.Context, _ string, _ thaw.Settings, _ io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
				for range test.events {
					events(thaw.DeployEvent{Step: "build"})
				}
				return thaw.Version{}, test.err
			}})
			body, kind := form(t, "settings", `{}`, "code", strings.Repeat("x", 1<<20))
			got := putForm(t, url, kind, bytes.NewReader(body))
			if got.status != test.status || strings.Contains(got.body, "secret") {
				t.Fatalf("%d %s", got.status, got.body)
			}
			var e api.Error
			if test.events == 0 {
				if err := json.Unmarshal([]byte(got.body), &e); err != nil {
					t.Fatal(err)
				}
			} else {
				all := lines(t, got.body)
				if len(all) != test.events+1 || all[test.events].Error == nil {
					t.Fatal(got.body)
				}
				e = *all[test.events].Error
			}
			if e.Code != test.code || !strings.Contains(e.Message, test.text) {
				t.Errorf("error %+v", e)
			}
			if !strings.Contains(log.String(), "error=") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestDeployIsCancelled sends all of a deploy to an engine that leaves the end
// of the code unread, as a reader of tar does, and goes away.
func TestDeployIsCancelled(t *testing.T) {
	cancelled := make(chan error, 1)
	url, _ := start(t, fakeEngine{deploy: func(ctx context.Context, _ string, _ thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
		if _, err := io.ReadFull(code, make([]byte, 1000)); err != nil {
			return thaw.Version{}, err
		}
		events(thaw.DeployEvent{Step: "boot"})
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
		}
		cancelled <- ctx.Err()
		return thaw.Version{}, ctx.Err()
	}})
	body, kind := form(t, "settings", `{}`, "code", strings.Repeat("x", 11_000))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "PUT", url+"/v1/functions/hello", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	cancel()
	if err := <-cancelled; !errors.Is(err, context.Canceled) {
		t.Errorf("the engine's context: %v", err)
	}
}

func TestCodeIsBounded(t *testing.T) {
	c := limitCode(strings.NewReader("12345"), 5)
	if raw, err := io.ReadAll(c); err != nil || string(raw) != "12345" {
		t.Errorf("%q, %v", raw, err)
	}
	c = limitCode(strings.NewReader("123456"), 5)
	if _, err := io.ReadAll(c); thaw.CodeOf(err) != thaw.CodeTooLarge {
		t.Error(err)
	}
}

func TestCutOffUpload(t *testing.T) {
	seen := make(chan error, 1)
	url, _ := start(t, fakeEngine{deploy: func(_ context.Context, _ string, _ thaw.Settings, code io.Reader, _ func(thaw.DeployEvent)) (thaw.Version, error) {
		_, err := io.ReadAll(code)
		seen <- err
		return thaw.Version{}, err
	}})
	body, kind := form(t, "settings", `{}`, "code", strings.Repeat("x", 10_000))
	got := putForm(t, url, kind, bytes.NewReader(body[:9000]))
	if err := <-seen; thaw.CodeOf(err) != thaw.CodeInvalid || got.status != 400 {
		t.Errorf("engine read %v, client %d %s", err, got.status, got.body)
	}
}

// FuzzReadDeploy feeds the intake of a deploy arbitrary headers and bodies: it
// must not panic, and refuse with an error for the user or give settings that
// hold.
func FuzzReadDeploy(f *testing.F) {
	body, kind := form(f, "settings", `{"memory_bytes":134217728}`, "code", "tar")
	f.Add(kind, body)
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=settings\r\n\r\n{}\r\n--x\r\nContent-Disposition: form-data; name=code\r\n\r\nabc\r\n--x--"))
	f.Add("multipart/form-data; boundary=\"", []byte("--"))
	f.Add("multipart/mixed; boundary=x", []byte("--x\n\n{}\n--x--"))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := httptest.NewRequest("PUT", "/v1/functions/hello", bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		settings, code, err := readDeploy(r)
		if err == nil {
			if settings.Validate() != nil {
				t.Errorf("settings %+v were accepted", settings)
			}
			_, err = io.Copy(io.Discard, code)
		}
		if c := thaw.CodeOf(err); c != "" && c != thaw.CodeInvalid && c != thaw.CodeTooLarge {
			t.Errorf("code %s: %v", c, err)
		}
	})
}

func FuzzReadSettings(f *testing.F) {
	f.Add([]byte(`{"runtime":"python3","handler":"a.b","memory_bytes":268435456,"timeout_ns":1000000000,"env":{"A":"b"}}`))
	f.Add([]byte(`{"env":{"AWS_LAMBDA_X":""}}`))
	f.Add([]byte(`{"packages":["python3-pil","rm -rf"]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		settings, err := readSettings(bytes.NewReader(raw))
		if (err == nil) != (settings.Validate() == nil) && err == nil {
			t.Errorf("settings %+v were accepted", settings)
		}
	})
}
