// Command server is a function of the http runtime for tests: an HTTP server that
// does what the path asks for.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// server counts what it serves.
type server struct {
	active, most atomic.Int32
	aborted      atomic.Int32 // requests whose client went away
	hooks        atomic.Value // of string
}

func main() {
	if text := os.Getenv("FAIL_INIT"); text != "" {
		fmt.Println(text)
		os.Exit(3)
	}
	s := &server{}
	s.hooks.Store("")
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/", echo)
	mux.HandleFunc("/events", events)
	mux.HandleFunc("/bytes", bytesOf)
	mux.HandleFunc("/sink", sink)
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/crash", crash)
	mux.HandleFunc("/cut", cut)
	mux.HandleFunc("/wait", s.wait)
	mux.HandleFunc("/counts", s.counts)
	mux.HandleFunc("/hook/", s.hook)
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { reply(w, os.Environ()) })
	mux.HandleFunc("/log", func(w http.ResponseWriter, r *http.Request) { fmt.Println(r.URL.RawQuery); reply(w, "logged") })
	mux.HandleFunc("/{$}", root)
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.count(mux, w, r) })
	fmt.Println("listening on", os.Getenv("PORT"))
	fmt.Println(http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), counted))
	os.Exit(1)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// count keeps the most requests that were under way at once.
func (s *server) count(next http.Handler, w http.ResponseWriter, r *http.Request) {
	n := s.active.Add(1)
	defer s.active.Add(-1)
	for {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	next.ServeHTTP(w, r)
}

func (s *server) counts(w http.ResponseWriter, _ *http.Request) {
	reply(w, map[string]int32{"active": s.active.Load(), "most": s.most.Load(), "aborted": s.aborted.Load()})
}

// echo replies with what came, and the body as it is.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	head, _ := json.Marshal(map[string]any{
		"method": r.Method, "path": r.URL.EscapedPath(), "query": r.URL.RawQuery, "host": r.Host, "header": r.Header,
		"length": r.ContentLength,
	})
	w.Header().Set("X-Request", string(head))
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	w.Header().Set("Content-Type", "application/x-echo")
	status, _ := strconv.Atoi(r.URL.Query().Get("status"))
	w.WriteHeader(max(status, 200))
	_, _ = w.Write(body)
}

// events sends n server-sent events, each when the one before was told to have been
// seen by a file of its name, or after the pause.
func events(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	pause, _ := time.ParseDuration(r.URL.Query().Get("pause"))
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Trailer", "X-Sum")
	out := http.NewResponseController(w)
	_ = out.Flush()
	for i := range n {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("X-Sum", strconv.Itoa(n))
}

// bytesOf sends n bytes that are not all the same.
func bytesOf(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.Itoa(n))
	}
	block := make([]byte, 64<<10)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for n > 0 {
		k, err := w.Write(block[:min(n, len(block))])
		if err != nil {
			return
		}
		n -= k
	}
}

// sink says what it was sent.
func sink(w http.ResponseWriter, r *http.Request) {
	h := sha256.New()
	n, err := io.Copy(h, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, map[string]any{"bytes": n, "sha256": fmt.Sprintf("%x", h.Sum(nil))})
}

// early replies before it has read anything.
func early(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, "no")
}

// crash sends a piece and ends the process.
func crash(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("after") {
		_, _ = io.WriteString(w, "first piece")
		_ = http.NewResponseController(w).Flush()
		time.Sleep(50 * time.Millisecond)
	}
	os.Exit(7)
}

// cut closes the connection in the middle of a reply.
func cut(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("after") {
		_, _ = io.WriteString(w, "first piece")
		_ = http.NewResponseController(w).Flush()
	}
	panic(http.ErrAbortHandler)
}

// wait replies when the given number of requests are under way at once, or after a
// time.
func (s *server) wait(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	for end := time.Now().Add(20 * time.Second); int(s.most.Load()) < n && time.Now().Before(end); {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-r.Context().Done():
			s.aborted.Add(1)
			return
		}
	}
	reply(w, s.most.Load())
}

// hook notes that it was called; FAIL_HOOK is one that fails.
func (s *server) hook(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[len("/hook/"):]
	switch {
	case r.Method == http.MethodGet:
		reply(w, s.hooks.Load())
	case name == os.Getenv("FAIL_HOOK"):
		http.Error(w, "no", http.StatusInternalServerError)
	default:
		fmt.Println("hook", name)
		s.hooks.Store(s.hooks.Load().(string) + name + " ")
	}
}

// root takes what Lambda's invocations become.
func root(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var e struct {
		Status int `json:"status"`
	}
	if errors.Join(err, json.Unmarshal(body, &e)) == nil && e.Status != 0 {
		w.WriteHeader(e.Status)
	}
	_, _ = w.Write(body)
}
