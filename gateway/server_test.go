package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func serveOn(t *testing.T, handler http.Handler, drain time.Duration) (addr string, stop context.CancelFunc, done <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var server sync.WaitGroup
	server.Go(func() { ended <- Serve(ctx, l, handler, drain, slog.New(slog.DiscardHandler)) })
	t.Cleanup(func() {
		stop()
		server.Wait()
	})
	return l.Addr().String(), stop, ended
}

func TestServeDrains(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	addr, stop, done := serveOn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-leave
		fmt.Fprint(w, "context: ", r.Context().Err())
	}), time.Minute)
	body := make(chan string, 1)
	go func() {
		reply, err := http.Get("http://" + addr)
		if err != nil {
			body <- err.Error()
			return
		}
		defer reply.Body.Close()
		raw, _ := io.ReadAll(reply.Body)
		body <- string(raw)
	}()
	<-entered
	stop()
	select {
	case err := <-done:
		t.Fatalf("Serve ended with a request running: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("a stopping server takes connections")
	}
	close(leave)
	if got := <-body; got != "context: <nil>" {
		t.Error(got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestServeCutsOffAfterDrain(t *testing.T) {
	cancelled := make(chan struct{})
	entered := make(chan struct{})
	addr, stop, done := serveOn(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(cancelled)
	}), 20*time.Millisecond)
	failed := make(chan error, 1)
	go func() {
		_, err := http.Get("http://" + addr)
		failed <- err
	}()
	<-entered
	stop()
	<-cancelled
	if err := <-done; err != nil {
		t.Error(err)
	}
	if <-failed == nil {
		t.Error("the request succeeded")
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	addr, _, _ := serveOn(t, http.NotFoundHandler(), time.Second)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 60<<10))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("%q, %v", line, err)
	}
}
