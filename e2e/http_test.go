package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"thaw"
	"thaw/daemon"
)

// serverFolder holds the test server, as a function of the runtime http.
func serverFolder(t *testing.T) string {
	t.Helper()
	return filepath.Dir(goBuild(t, "bootstrap", "../agent/guest/testdata/server"))
}

// web asks a function that is an HTTP server.
func (s *site) web(t testing.TB, method, path string, body io.Reader, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+"/function/"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reply.Body.Close() })
	return reply
}

func text(t testing.TB, reply *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestHTTP passes requests through to an HTTP server in a real VM.
func TestHTTP(t *testing.T) {
	s := open(t, t.TempDir(), func(c *daemon.Config) { c.QueueDepth, c.QueueTimeout = daemon.DefaultQueueDepth, 20*time.Second })
	s.deploy(t, "web", serverFolder(t), thaw.Settings{Runtime: thaw.RuntimeHTTP, Timeout: 20 * time.Second, Env: map[string]string{
		"AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH": "/hook/before", "AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH": "/hook/after",
	}})
	t.Run("Restored", func(t *testing.T) { testHTTPRestored(t, s) })
	t.Run("Echo", func(t *testing.T) { testHTTPEcho(t, s) })
	t.Run("Events", func(t *testing.T) { testHTTPEvents(t, s) })
	t.Run("Large", func(t *testing.T) { testHTTPLarge(t, s) })
	t.Run("Abort", func(t *testing.T) { testHTTPAbort(t, s) })
	t.Run("Broken", func(t *testing.T) { testHTTPBroken(t, s) })
	t.Run("Invoke", func(t *testing.T) { testHTTPInvoke(t, s) })
	t.Run("Callback", func(t *testing.T) { testHTTPCallback(t, s) })
	t.Run("Concurrency", func(t *testing.T) { testHTTPConcurrency(t, s) })
	t.Run("Timeout", func(t *testing.T) { testHTTPTimeout(t, s) })
}

// testHTTPRestored starts the server out of its snapshot, by a recording and by what
// that brings in.
func testHTTPRestored(t *testing.T, s *site) {
	for range 2 {
		reply := s.web(t, "GET", "web/hook/", nil, "Thaw-Cold", "true", "Thaw-Policy", "thaw")
		if got := text(t, reply); reply.StatusCode != 200 || strings.TrimSpace(got) != `"before after "` {
			t.Errorf("%d %q", reply.StatusCode, got)
		}
		if reply.Header.Get("Thaw-Start") != "cold" || reply.Header.Get("Thaw-Policy") != "thaw" {
			t.Errorf("started %v", reply.Header)
		}
		eventually(t, "the record", func() bool { // the last byte may be there before it
			record, err := s.Invocation(t.Context(), reply.Header.Get("X-Amzn-Requestid"))
			return err == nil && record.Start == thaw.StartCold && record.PhasesMS[thaw.PhaseInvoke] > 0
		})
	}
	eventually(t, "a working set", func() bool { return s.describe(t, "web").SnapshotInfo.WorkingSetPages > 0 })
}

func testHTTPEcho(t *testing.T, s *site) {
	body := bytes.Repeat([]byte{0, 1, 2, 0xff, 0xf5, 't', 'h', 'a', 'w', 0x0d, 0x0a, 0x1a}, 1000)
	reply := s.web(t, "PUT", "web/echo/a%20b/c?x=1&y=%2F&status=207", bytes.NewReader(body), "X-A", "b", "Ce-Type", "t", "X-Call-Id", "call-1")
	var seen struct {
		Method, Path, Query string
		Header              http.Header
		Length              int64
	}
	if err := json.Unmarshal([]byte(reply.Header.Get("X-Request")), &seen); err != nil {
		t.Fatal(err)
	}
	if got := text(t, reply); reply.StatusCode != 207 || got != string(body) || reply.Header.Get("Content-Type") != "application/x-echo" || len(reply.Header["Set-Cookie"]) != 2 {
		t.Errorf("%d, %d bytes, %v", reply.StatusCode, len(got), reply.Header)
	}
	if seen.Method != "PUT" || seen.Path != "/echo/a%20b/c" || seen.Query != "x=1&y=%2F&status=207" || seen.Length != int64(len(body)) {
		t.Errorf("the server saw %+v", seen)
	}
	for name, want := range map[string]string{"X-A": "b", "Ce-Type": "t", "X-Call-Id": "call-1", "X-Forwarded-For": "127.0.0.1"} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("the server saw %s: %q, want %q", name, got, want)
		}
	}
	if head := s.web(t, "HEAD", "web/bytes?n=1000&length", nil); head.ContentLength != 1000 || head.StatusCode != 200 {
		t.Errorf("HEAD: %d, %d bytes", head.StatusCode, head.ContentLength)
	}
	for _, path := range []string{"web/hook/after", "web/hook%2Fbefore?a=b"} { // the agent's alone
		if reply := s.web(t, "POST", path, strings.NewReader("{}")); reply.StatusCode != 404 || !strings.Contains(text(t, reply), "Runtime.HookPath") {
			t.Errorf("POST %s: %d", path, reply.StatusCode)
		}
	}
	if got := text(t, s.web(t, "GET", "web/hook/", nil)); strings.TrimSpace(got) != `"before after "` {
		t.Errorf("the server saw the hooks %q", got)
	}
}

// testHTTPEvents reads events as they come: the server makes the next one only half a
// second after the one before, and the reply has no end for a long time.
func testHTTPEvents(t *testing.T, s *site) {
	reply := s.web(t, "GET", "web/events?n=3&pause=300ms", nil)
	lines, ended := bufio.NewReader(reply.Body), make(chan struct{})
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || line != fmt.Sprintf("data: %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := lines.Discard(1); err != nil {
			t.Fatal(err)
		}
		if lines.Buffered() > 0 {
			t.Errorf("event %d came with others", i)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines); close(ended) }()
	<-ended
	if reply.Trailer.Get("X-Sum") != "3" {
		t.Errorf("trailer %v", reply.Trailer)
	}
}

// slow reads at a rate and remembers how far it has come.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(p []byte) (int, error) {
	n, err := s.r.Read(p[:min(len(p), 256<<10)])
	if s.n += n; s.n%(1<<20) < n {
		time.Sleep(20 * time.Millisecond)
	}
	return n, err
}

// testHTTPLarge has a slow client download and upload more than any buffer holds, and
// looks at what the daemon, which is this process, and the VM hold meanwhile.
func testHTTPLarge(t *testing.T, s *site) {
	const size = 20 << 20
	_ = text(t, s.web(t, "GET", "web/bytes?n=1", nil)) // a start needs memory of its own
	before := residentBytes(t, os.Getpid())
	reply := s.web(t, "GET", "web/bytes?n="+strconv.Itoa(size), nil)
	down, peak := &slow{r: reply.Body}, int64(0)
	for buf := make([]byte, 64<<10); ; {
		n, err := down.Read(buf)
		for i := range n {
			if buf[i] != byte((down.n-n+i)%(64<<10)*7) {
				t.Fatalf("byte %d is wrong", down.n-n+i)
			}
		}
		if peak = max(peak, residentBytes(t, os.Getpid())); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if down.n != size {
		t.Errorf("%d bytes", down.n)
	}
	sum, source := sha256.New(), io.LimitReader(countUp{}, size)
	up := s.web(t, "POST", "web/sink", &slow{r: io.TeeReader(source, sum)})
	if got := decode[map[string]any](t, []byte(text(t, up))); got["bytes"] != float64(size) || got["sha256"] != fmt.Sprintf("%x", sum.Sum(nil)) {
		t.Errorf("the server got %v", got)
	}
	if peak = max(peak, residentBytes(t, os.Getpid())); peak-before > size/2 {
		t.Errorf("the daemon grew from %d to %d MiB", before>>20, peak>>20)
	}
}

// countUp is a body that is not all the same.
type countUp struct{}

func (countUp) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// residentBytes is the memory of a process without what it maps of files on a disk: its
// program comes in as it is used.
func residentBytes(t testing.TB, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"RssAnon", "RssShmem"} {
		_, rest, found := strings.Cut(string(b), field+":")
		var kib int64
		if _, err := fmt.Sscan(rest, &kib); err != nil || !found {
			t.Fatalf("%s of process %d: %v", field, pid, err)
		}
		n += kib << 10
	}
	return n
}

// testHTTPAbort has a client go away: the server is told, and the instance, the only one
// there may be, serves the next one.
func testHTTPAbort(t *testing.T, s *site) {
	s.deploy(t, "web", serverFolder(t), thaw.Settings{Runtime: thaw.RuntimeHTTP, Timeout: 20 * time.Second, MaxScale: 1})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/function/web/events?n=1000&pause=10ms", nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	instance := reply.Header.Get("Thaw-Instance")
	if _, err := bufio.NewReader(reply.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the end of the request in the server", func() bool {
		reply := s.web(t, "GET", "web/counts", nil)
		if got := reply.Header.Get("Thaw-Instance"); got != instance {
			t.Errorf("instance %q serves after %q", got, instance)
		}
		return decode[map[string]int](t, []byte(text(t, reply)))["active"] == 1
	})
}

// testHTTPBroken has the server break off: what has begun does not look whole, what has
// not is 502, and the next request is served.
func testHTTPBroken(t *testing.T, s *site) {
	for _, path := range []string{"cut", "crash"} {
		if reply := s.web(t, "GET", "web/"+path, nil); reply.StatusCode != 502 || !strings.Contains(text(t, reply), "errorMessage") {
			t.Errorf("%s: %d", path, reply.StatusCode)
		}
		reply := s.web(t, "GET", "web/"+path+"?after", nil)
		if b, err := io.ReadAll(reply.Body); err == nil || string(b) != "first piece" || reply.StatusCode != 200 {
			t.Errorf("%s looks whole: %d %q, %v", path, reply.StatusCode, b, err)
		}
		if reply := s.web(t, "GET", "web/echo/", nil); reply.StatusCode != 200 {
			t.Errorf("after %s: %d", path, reply.StatusCode)
		}
	}
}

// testHTTPInvoke invokes the server as Lambda's functions are.
func testHTTPInvoke(t *testing.T, s *site) {
	if r := s.warm(t, "web", `{"a": 1}`); string(r.Payload) != `{"a": 1}` || r.FunctionError != "" {
		t.Errorf("%s %s", r.FunctionError, r.Payload)
	}
	if r := s.warm(t, "web", `{"status": 503}`); r.FunctionError != "Runtime.ErrorStatus" || !strings.Contains(string(r.Payload), "503") {
		t.Errorf("%s %s", r.FunctionError, r.Payload)
	}
	if r := s.warm(t, "web", `{"status": 404}`); r.FunctionError != "" {
		t.Errorf("%s %s", r.FunctionError, r.Payload)
	}
	event := `{"version":"2.0","rawPath":"/echo/x","rawQueryString":"status=203","headers":{"x-a":"b"},"requestContext":{"http":{"method":"PUT"}},"body":"AAE=","isBase64Encoded":true}`
	got := decode[struct {
		StatusCode      int
		Body            string
		IsBase64Encoded bool
		Cookies         []string
	}](t, s.warm(t, "web", event).Payload)
	if got.StatusCode != 203 || got.Body != "\x00\x01" || len(got.Cookies) != 2 {
		t.Errorf("%+v", got)
	}
}

// testHTTPCallback has a request wait in the queue, and its reply posted.
func testHTTPCallback(t *testing.T, s *site) {
	type post struct {
		header http.Header
		body   string
	}
	posts := make(chan post, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posts <- post{r.Header, string(body)}
	}))
	defer server.Close()
	r, err := http.NewRequest("PUT", s.url+"/async-function/web/echo/later?status=201", strings.NewReader("\x00\xffbinary"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Callback-Url", server.URL)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	got := <-posts
	if reply.StatusCode != 202 || got.header.Get("X-Function-Status") != "201" || got.body != "\x00\xffbinary" || got.header.Get("Content-Type") != "application/x-echo" {
		t.Errorf("%d, posted %+v", reply.StatusCode, got)
	}
}

// testHTTPConcurrency has one instance serve four requests at once, as the server itself
// sees them, and one late one among them be the end of it, but not theirs.
func testHTTPConcurrency(t *testing.T, s *site) {
	s.deploy(t, "web", serverFolder(t), thaw.Settings{Runtime: thaw.RuntimeHTTP, Timeout: 6 * time.Second, Concurrency: 4})
	first := s.web(t, "GET", "web/counts", nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			reply, err := http.Get(s.url + "/function/web/wait?n=4")
			if err != nil {
				t.Error(err)
				return
			}
			defer reply.Body.Close()
			b, err := io.ReadAll(reply.Body)
			if strings.TrimSpace(string(b)) != "4" || err != nil || reply.Header.Get("Thaw-Instance") != first.Header.Get("Thaw-Instance") {
				t.Errorf("%d, %s at once, %v, %v", reply.StatusCode, b, err, reply.Header)
			}
		})
	}
	all.Wait()
	late := make(chan *http.Response)
	go func() { late <- s.web(t, "GET", "web/wait?n=99", nil) }()
	eventually(t, "two at once", func() bool {
		return decode[map[string]int](t, []byte(text(t, s.web(t, "GET", "web/counts", nil))))["active"] == 2
	})
	time.Sleep(2 * time.Second)
	other := s.web(t, "GET", "web/events?n=10&pause=500ms", nil) // longer than the late one has
	if reply := <-late; reply.StatusCode != 504 {
		t.Errorf("late: %d", reply.StatusCode)
	}
	if got := text(t, other); !strings.Contains(got, "data: 9") || other.Header.Get("Thaw-Instance") != first.Header.Get("Thaw-Instance") {
		t.Errorf("the other one: %q", got)
	}
	if next := s.web(t, "GET", "web/echo/", nil); next.StatusCode != 200 || next.Header.Get("Thaw-Instance") == first.Header.Get("Thaw-Instance") {
		t.Errorf("the next: %d %v", next.StatusCode, next.Header)
	}
}

// testHTTPTimeout: what takes too long is 504, and its instance is gone.
func testHTTPTimeout(t *testing.T, s *site) {
	s.deploy(t, "web", serverFolder(t), thaw.Settings{Runtime: thaw.RuntimeHTTP, Timeout: 2 * time.Second})
	reply := s.web(t, "GET", "web/wait?n=99", nil)
	if got := text(t, reply); reply.StatusCode != 504 || !strings.Contains(got, thaw.ErrorTypeTimeout) {
		t.Errorf("%d %s", reply.StatusCode, got)
	}
	gone := reply.Header.Get("Thaw-Instance")
	if next := s.web(t, "GET", "web/echo/", nil); next.StatusCode != 200 || gone == "" || next.Header.Get("Thaw-Instance") == gone {
		t.Errorf("%d by %s, after %s", next.StatusCode, next.Header.Get("Thaw-Instance"), gone)
	}
}

// TestHTTPPython deploys a server that is a script, with an interpreter.
func TestHTTPPython(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	dir := t.TempDir()
	code, err := os.ReadFile("../cmd/thaw/template/http/server.py.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "server.py"), code, 0o600); err != nil {
		t.Fatal(err)
	}
	s.deploy(t, "py", dir, thaw.Settings{Runtime: thaw.RuntimeHTTP, Handler: "python3 server.py"})
	if got := text(t, s.web(t, "POST", "py/any/path", strings.NewReader(`{"name": "Ada"}`), "Thaw-Cold", "true")); got != `{"message": "Hello, Ada!"}` {
		t.Error(got)
	}
	_, err = s.tryDeploy(t.Context(), "bad", dir, thaw.Settings{Runtime: thaw.RuntimeHTTP, Handler: "python3 -c print('no-database');exit(1)"})
	if thaw.CodeOf(err) != thaw.CodeFunction || !strings.Contains(err.Error(), "no-database") {
		t.Errorf("a server that ends: %v", err)
	}
}
