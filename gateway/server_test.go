package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// TestSlowHeaders: a client that sends its headers a line a second is not waited for
// until their end. The time is the test's own.
func TestSlowHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serveOnPipe(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request is served") }))
		began := time.Now()
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n")
		for ; err == nil && time.Since(began) < time.Minute; time.Sleep(time.Second) {
			_, err = io.WriteString(conn, "X: y\r\n")
		}
		if took := time.Since(began); err == nil || took < headerTimeout || took > headerTimeout+2*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
	})
}

// TestBounded: who comes when all connections are taken is served once one is closed.
func TestBounded(t *testing.T) {
	for _, test := range []struct {
		most  int
		waits bool
	}{{1, true}, {2, false}, {0, false}} {
		t.Run(fmt.Sprint(test.most), func(t *testing.T) {
			addr := serveBounded(t, test.most)
			first, second := ask(t, addr), ask(t, addr)
			replied(t, first)
			if test.waits {
				if err := second.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if n, err := second.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the second one is not kept waiting: %d bytes, %v", n, err)
				}
				first.Close()
			}
			replied(t, second)
		})
	}
}

func serveBounded(t *testing.T, most int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var server sync.WaitGroup
	server.Go(func() {
		_ = Serve(ctx, Bounded(l, most), http.NotFoundHandler(), time.Second, slog.New(slog.DiscardHandler))
	})
	t.Cleanup(func() { stop(); server.Wait() })
	return l.Addr().String()
}

// ask sends a request on a connection that stays open.
func ask(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

func replied(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if reply, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || reply.Body.Close() != nil || reply.StatusCode != http.StatusNotFound {
		t.Fatalf("%v, %v", reply, err)
	}
}
