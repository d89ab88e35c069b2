package agent

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"thaw"
	"thaw/agent/wire"
)

// encodeHead writes the head of r with what says how its body is sent. The connection
// to the server is for this request only.
func encodeHead(r thaw.HTTPRequest) ([]byte, error) {
	if !isToken(r.Method) {
		return nil, fmt.Errorf("method %.20q is not one", r.Method)
	}
	if !strings.HasPrefix(r.Target, "/") || strings.ContainsFunc(r.Target, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, fmt.Errorf("target %.100q is not a path: begin it with /, and escape what is not ASCII", r.Target)
	}
	b := append([]byte(nil), r.Method+" "+r.Target+" HTTP/1.1\r\n"...)
	for _, f := range r.Header {
		if !isToken(f.Name) || !isValue(f.Value) {
			return nil, fmt.Errorf("header %.50q is not valid", f.Name)
		}
		b = append(b, f.Name+": "+f.Value+"\r\n"...)
	}
	switch {
	case r.Body != nil && r.Length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.Body != nil:
		b = append(append(b, "Content-Length: "...), strconv.FormatInt(r.Length, 10)+"\r\n"...)
	case r.Method != "GET" && r.Method != "HEAD":
		b = append(b, "Content-Length: 0\r\n"...)
	}
	b = append(b, "Connection: close\r\n\r\n"...)
	if len(b) > wire.MaxHead {
		return nil, fmt.Errorf("its head is %d bytes: at most %d are allowed", len(b), wire.MaxHead)
	}
	return b, nil
}

// parseHead reads what a server sent, of which nothing is trusted.
func parseHead(head []byte) (thaw.HTTPReply, error) {
	if len(head) > wire.MaxHead {
		return thaw.HTTPReply{}, fmt.Errorf("the head of the reply is %d bytes: at most %d are allowed", len(head), wire.MaxHead)
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	fields := strings.SplitN(string(line), " ", 3)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/1.") {
		return thaw.HTTPReply{}, fmt.Errorf("the reply begins with %.50q, which is no status line", line)
	}
	status, err := strconv.Atoi(fields[1])
	if err != nil || status < 200 || status > 599 {
		return thaw.HTTPReply{}, fmt.Errorf("the reply has the status %.10q", fields[1])
	}
	header, err := parseFields(rest)
	return thaw.HTTPReply{Status: status, Header: header}, err
}

// parseFields reads lines of a head.
func parseFields(lines []byte) (fields []thaw.HTTPField, err error) {
	if len(lines) > wire.MaxHead {
		return nil, errors.New("the headers of the reply are too large")
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(lines, []byte("\r\n")), []byte("\r\n")) {
		if len(line) == 0 {
			continue
		}
		name, value, ok := strings.Cut(string(line), ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || !isValue(value) {
			return nil, fmt.Errorf("the reply's header %.50q is not valid", line)
		}
		fields = append(fields, thaw.HTTPField{Name: name, Value: value})
	}
	return fields, nil
}

// isToken reports whether s can name a method or a header (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// isValue reports whether s can be a header's value (RFC 9110, section 5.5).
func isValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
