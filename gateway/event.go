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
)

// httpEvent is a request as a function URL of Lambda hands it to a function,
// payload format version 2.0
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html).
type httpEvent struct {
	Version         string            `json:"version"`
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies,omitempty"`
	Headers         map[string]string `json:"headers"`
	Query           map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext  requestContext    `json:"requestContext"`
	Body            string            `json:"body,omitempty"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

type requestContext struct {
	DomainName string      `json:"domainName"`
	HTTP       httpContext `json:"http"`
	RequestID  string      `json:"requestId"`
	RouteKey   string      `json:"routeKey"`
	Stage      string      `json:"stage"`
	Time       string      `json:"time"`
	TimeEpoch  int64       `json:"timeEpoch"` // milliseconds
}

type httpContext struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

const defaultRoute = "$default"

// eventOf makes the event of an OpenFaaS request; see openfaas.go for the rule.
func eventOf(r *http.Request, body []byte, requestID string, now time.Time) []byte {
	if isPlain(r, body) {
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

func newHTTPEvent(r *http.Request, body []byte, requestID string, now time.Time) httpEvent {
	path := "/" + r.PathValue("path")
	from, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		from = r.RemoteAddr
	}
	e := httpEvent{
		Version: "2.0", RouteKey: defaultRoute, RawPath: path, RawQueryString: r.URL.RawQuery, Headers: map[string]string{},
		RequestContext: requestContext{
			DomainName: r.Host, RequestID: requestID, RouteKey: defaultRoute, Stage: defaultRoute,
			Time: now.UTC().Format("02/Jan/2006:15:04:05 +0000"), TimeEpoch: now.UnixMilli(),
			HTTP: httpContext{Method: r.Method, Path: path, Protocol: r.Proto, SourceIP: from, UserAgent: r.UserAgent()},
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
		if key := textproto.CanonicalMIMEHeaderKey(name); !isHopByHop(key) {
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

// isHopByHop names headers that are the connection's (RFC 9110, section 7.6.1), or
// the server's own.
func isHopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Content-Length":
		return true
	}
	return false
}

func badReply(format string, args ...any) error {
	return thaw.Errorf(thaw.CodeInstance, "the function's reply cannot be sent over HTTP: %w", fmt.Errorf(format, args...))
}
