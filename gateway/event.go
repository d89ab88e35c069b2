package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"thaw"
	"thaw/functionurl"
)

const defaultRoute = "$default"

// eventOf makes the event of an OpenFaaS request for v; see openfaas.go for the rule.
func eventOf(r *http.Request, v thaw.Version, body []byte, requestID string, now time.Time) []byte {
	if v.Protocol() == thaw.ProtocolLambda && isPlain(r, body) {
		if len(body) == 0 {
			return []byte("{}")
		}
		return body
	}
	raw, err := json.Marshal(newHTTPEvent(r, body, requestID, now))
	if err != nil {
		panic(err) // strings always marshal
	}
	return raw
}

// isPlain says that a request is nothing but its body.
func isPlain(r *http.Request, body []byte) bool {
	if r.Method != http.MethodPost || strings.Trim(r.PathValue("path"), "/") != "" || r.URL.RawQuery != "" {
		return false
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Ce-") { // CloudEvents, binary mode
			return false
		}
	}
	return len(body) == 0 || isJSON(body)
}

func newHTTPEvent(r *http.Request, body []byte, requestID string, now time.Time) functionurl.Event {
	path := "/" + r.PathValue("path")
	raw, _, _ := strings.Cut(targetOf(r), "?")
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	e := functionurl.Event{
		Version: functionurl.Version, RouteKey: defaultRoute, RawPath: raw, RawQueryString: r.URL.RawQuery, Headers: map[string]string{},
		RequestContext: functionurl.Context{
			DomainName: r.Host, RequestID: requestID, RouteKey: defaultRoute, Stage: defaultRoute,
			Time: now.UTC().Format("02/Jan/2006:15:04:05 +0000"), TimeEpoch: now.UnixMilli(),
			HTTP: functionurl.HTTP{Method: r.Method, Path: path, Protocol: r.Proto, SourceIP: from, UserAgent: r.UserAgent()},
		},
	}
	for name, values := range r.Header {
		if name == "Cookie" {
			e.Cookies = strings.Split(strings.Join(values, "; "), "; ")
			continue
		}
		e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	e.Headers["host"] = r.Host
	for name, values := range r.URL.Query() {
		if e.Query == nil {
			e.Query = map[string]string{}
		}
		e.Query[name] = strings.Join(values, ",")
	}
	if e.Body = string(body); !utf8.Valid(body) {
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return e
}

// What a header may be made of (RFC 9110, section 5).
var (
	fieldName  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	fieldValue = regexp.MustCompile(`^[^\x00-\x08\x0A-\x1F\x7F]*$`)
)

// httpReply is what goes back over HTTP for what a function returned.
type httpReply struct {
	status int
	header http.Header
	body   []byte
}

// replyOf reads a function's reply as a function URL of Lambda does: an object with
// a statusCode says status, headers and body; anything else is the body, as JSON.
func replyOf(payload []byte) (httpReply, error) {
	var said struct {
		StatusCode      *int           `json:"statusCode"`
		Headers         map[string]any `json:"headers"`
		Cookies         []string       `json:"cookies"`
		Body            *string        `json:"body"`
		IsBase64Encoded bool           `json:"isBase64Encoded"`
	}
	reply := httpReply{http.StatusOK, http.Header{"Content-Type": {"application/json"}}, payload}
	if json.Unmarshal(payload, &said) != nil || said.StatusCode == nil {
		return reply, nil //nolint:nilerr // it says nothing of HTTP
	}
	if *said.StatusCode < 200 || *said.StatusCode > 599 {
		return reply, badReply("statusCode %d is not one of a reply", *said.StatusCode)
	}
	reply.status, reply.body = *said.StatusCode, nil
	if said.Body != nil {
		reply.body = []byte(*said.Body)
	}
	if said.IsBase64Encoded {
		body, err := base64.StdEncoding.DecodeString(string(reply.body))
		if err != nil {
			return reply, badReply("body is not base64: %w", err)
		}
		reply.body = body
	}
	for name, value := range said.Headers {
		text := fmt.Sprint(value)
		if !fieldName.MatchString(name) || !fieldValue.MatchString(text) {
			return reply, badReply("header %.50q is not valid", name)
		}
		if key := textproto.CanonicalMIMEHeaderKey(name); !functionurl.IsHopByHop(key) && key != "Content-Length" {
			reply.header.Set(key, text)
		}
	}
	for _, c := range said.Cookies {
		if !fieldValue.MatchString(c) {
			return reply, badReply("cookie %.50q is not valid", c)
		}
		reply.header.Add("Set-Cookie", c)
	}
	return reply, nil
}

func badReply(format string, args ...any) error {
	return thaw.Errorf(thaw.CodeInstance, "the function's reply cannot be sent over HTTP: %w", fmt.Errorf(format, args...))
}
