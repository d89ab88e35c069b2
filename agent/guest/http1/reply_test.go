package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// readReply reads a reply to its end.
func readReply(r io.Reader, method string) (status int, body string, trailer string, err error) {
	c := NewConn(&stream{r: r})
	reply, err := c.Reply(method)
	if err != nil {
		return 0, "", "", err
	}
	status = reply.Status
	b, err := io.ReadAll(c)
	return status, string(b), string(c.Trailer()), err
}

func TestReply(t *testing.T) {
	for name, tt := range map[string]struct {
		text, method string
		status       int
		body         string
		trailer      string
		err          error
	}{
		"Length":        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", "GET", 200, "abc", "", nil},
		"LengthCut":     {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "GET", 200, "ab", "", io.ErrUnexpectedEOF},
		"NoLength":      {"HTTP/1.0 200 OK\r\n\r\nto the end", "GET", 200, "to the end", "", nil},
		"Chunked":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nX-A: b\r\n\r\n", "GET", 200, "abc", "X-A: b\r\n", nil},
		"ChunkedCut":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "GET", 200, "ab", "", io.ErrUnexpectedEOF},
		"Head":          {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", 200, "", "", nil},
		"NoContent":     {"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, "", "", nil},
		"NotModified":   {"HTTP/1.1 304\r\nContent-Length: 3\r\n\r\n", "GET", 304, "", "", nil},
		"Informational": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "POST", 201, "", "", nil},
		"Upgrade":       {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "GET", 0, "", "", ErrUpgrade},
		"Both":          {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0, "", "", errReply},
		"TwoLengths":    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "GET", 0, "", "", errReply},
		"Coding":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET", 0, "", "", errReply},
		"NoHTTP":        {"SSH-2.0-OpenSSH\r\n\r\n", "GET", 0, "", "", errReply},
		"Status":        {"HTTP/1.1 20 OK\r\n\r\n", "GET", 0, "", "", errReply},
		"Nothing":       {"", "GET", 0, "", "", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			for kind, r := range map[string]io.Reader{"at once": strings.NewReader(tt.text), "by bytes": iotest.OneByteReader(strings.NewReader(tt.text))} {
				status, body, trailer, err := readReply(r, tt.method)
				if status != tt.status || body != tt.body || trailer != tt.trailer || !errors.Is(err, tt.err) {
					t.Errorf("%s: %d %q %q %v", kind, status, body, trailer, err)
				}
			}
		})
	}
}

// FuzzReply reads anything as a reply, and wants what net/http makes of it where both
// take it.
func FuzzReply(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"))
	f.Add([]byte("HTTP/1.0 200 OK\r\n\r\nto the end"))
	f.Fuzz(func(t *testing.T, b []byte) {
		status, body, _, err := readReply(bytes.NewReader(b), "GET")
		if err != nil {
			return
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil || r.StatusCode/100 == 1 {
			return
		}
		want, err := io.ReadAll(r.Body)
		if err == nil && (r.StatusCode != status || string(want) != body) {
			t.Errorf("%d %q, net/http has %d %q", status, body, r.StatusCode, want)
		}
	})
}
