package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// stream is a connection whose client has said everything already.
type stream struct {
	net.Conn // nil: nothing else is called
	r        io.Reader
	out      bytes.Buffer
}

func (s *stream) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.Write(b) }

// talk answers every request with what was understood of it.
func talk(r io.Reader, limit int) (string, error) {
	s := &stream{r: r}
	c := NewConn(s)
	for {
		req, err := c.Next()
		if err != nil {
			return s.out.String(), err
		}
		body, err := c.Body(limit)
		status := 200
		if errors.Is(err, ErrTooBig) {
			status, err = 413, nil
		}
		if err != nil {
			return s.out.String(), err
		}
		text := fmt.Sprintf("%s %s %s [%s]", req.Method, req.Path, req.Header("x-a"), body)
		if err := c.Answer(status, "X-B: c\r\n", []byte(text)); err != nil {
			return s.out.String(), err
		}
	}
}

// answers parses what was sent back with net/http.
func answers(t *testing.T, out string) []string {
	t.Helper()
	var list []string
	for r := bufio.NewReader(strings.NewReader(out)); ; {
		resp, err := http.ReadResponse(r, nil)
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%d %s", resp.StatusCode, b))
	}
}

func TestRequests(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      error
	}{
		{"get", "GET /a?b HTTP/1.1\r\nHost: x\r\nX-A:  v \r\n\r\n", []string{"200 GET /a v []"}, io.EOF},
		{"pipelined", "\r\nGET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []string{"200 GET /a  []", "200 GET /b  []"}, io.EOF},
		{"length", "POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n", []string{"200 POST /a  [abc]", "200 GET /b  []"}, io.EOF},
		{"chunks", "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n02 \r\nde\r\n0\r\nTrailer: x\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []string{"200 POST /a  [abcde]", "200 GET /b  []"}, io.EOF},
		{"expect", "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", []string{"100 ", "200 POST /a  [x]"}, io.EOF},
		{"close", "GET /a HTTP/1.1\r\nConnection: foo, close\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []string{"200 GET /a  []"}, io.EOF},
		{"1.0", "GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n", []string{"200 GET /a  []"}, io.EOF},
		{"1.0 kept", "GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", []string{"200 GET /a  []"}, io.EOF},
		{"too big", "POST /a HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890GET /b HTTP/1.1\r\n\r\n", []string{"413 POST /a  []", "200 GET /b  []"}, io.EOF},
		{"too big in chunks", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n", []string{"413 POST /a  []", "200 GET /b  []"}, io.EOF},
		{"too big, asked", "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n", []string{"413 POST /a  []"}, io.EOF},
		{"two lengths", "POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", nil, errRequest},
		{"two framings", "POST /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", nil, errRequest},
		{"coding", "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", nil, errRequest},
		{"negative", "POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", nil, errRequest},
		{"chunk size", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", nil, errRequest},
		{"no HTTP", "hello\r\n\r\n", nil, errRequest},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", nil, errRequest},
		{"cut head", "GET /a HT", nil, io.EOF},
		{"cut body", "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", nil, io.ErrUnexpectedEOF},
		{"cut chunk", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", nil, io.ErrUnexpectedEOF},
		{"endless head", "GET /a HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", MaxHead), nil, errRequest},
		{"endless trailers", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: b\r\n", MaxHead), nil, errRequest},
		{"endless chunk line", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 2*MaxHead), nil, errRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
				out, err := talk(r, 10)
				if got := answers(t, out); strings.Join(got, "|") != strings.Join(tt.want, "|") || !errors.Is(err, tt.err) {
					t.Errorf("got %q, %v; want %q, %v", got, err, tt.want, tt.err)
				}
			}
		})
	}
}

// A body that promises much must not make the reader allocate much.
func TestPromise(t *testing.T) {
	in := "POST /a HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\nabc"
	perRun := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = talk(strings.NewReader(in), 2000000000)
		}
	}).AllocedBytesPerOp()
	if perRun > 4*growLen {
		t.Errorf("%d bytes allocated", perRun)
	}
}

// TestRealClient lets net/http's client talk to a real connection.
func TestRealClient(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		c := NewConn(conn)
		for {
			if _, err := c.Next(); err != nil {
				return
			}
			body, err := c.Body(8 << 20)
			if err != nil || c.Answer(200, "", body) != nil {
				return
			}
		}
	}()
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	for _, size := range []int{0, 1, 100, 65536, 65537, 6 << 20} {
		for _, chunked := range []bool{false, true} {
			req := httptest.NewRequest(http.MethodPost, "http://"+l.Addr().String()+"/", strings.NewReader(strings.Repeat("a", size)))
			req.RequestURI = ""
			if chunked {
				req.ContentLength = -1
				req.Header.Set("Expect", "100-continue")
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || len(b) != size {
				t.Errorf("size %d, chunked %v: %d bytes, %v", size, chunked, len(b), err)
			}
		}
	}
	client.CloseIdleConnections()
	<-done
}

// FuzzRequests feeds anything; the server must end and stay within its bounds.
func FuzzRequests(f *testing.F) {
	f.Add([]byte("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("POST /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := talk(bytes.NewReader(b), 100); err == nil {
			t.Error("no end")
		}
	})
}
