// Package functionurl is the shape in which Lambda's function URLs hand HTTP requests
// to functions and take their replies, payload format version 2.0
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html), in both
// directions: requests become events for functions that take events, and events
// become requests again for functions that are HTTP servers. It touches no network.
package functionurl

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"thaw"
)

// Version is the version of the payload format.
const Version = "2.0"

// Event is a request.
type Event struct {
	Version         string            `json:"version"`
	RouteKey        string            `json:"routeKey"`
	RawPath         string            `json:"rawPath"`
	RawQueryString  string            `json:"rawQueryString"`
	Cookies         []string          `json:"cookies,omitempty"`
	Headers         map[string]string `json:"headers"`
	Query           map[string]string `json:"queryStringParameters,omitempty"`
	RequestContext  Context           `json:"requestContext"`
	Body            string            `json:"body,omitempty"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// Context says where a request comes from.
type Context struct {
	DomainName string `json:"domainName"`
	HTTP       HTTP   `json:"http"`
	RequestID  string `json:"requestId"`
	RouteKey   string `json:"routeKey"`
	Stage      string `json:"stage"`
	Time       string `json:"time"`
	TimeEpoch  int64  `json:"timeEpoch"` // milliseconds
}

// HTTP is the request line and the client.
type HTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

// Parse reads a payload as an event. It reports false for one that is something else.
func Parse(payload []byte) (Event, bool) {
	var e Event
	err := json.Unmarshal(payload, &e)
	return e, err == nil && e.Version == Version && e.RequestContext.HTTP.Method != ""
}

// Request returns the request that e tells of.
func (e Event) Request() (thaw.HTTPRequest, error) {
	body := []byte(e.Body)
	if e.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(e.Body); err != nil {
			return thaw.HTTPRequest{}, thaw.Errorf(thaw.CodeInvalid, "the event's body is not base64: %w", err)
		}
	}
	r := thaw.HTTPRequest{Method: e.RequestContext.HTTP.Method, Target: "/" + strings.TrimPrefix(e.RawPath, "/"), Length: int64(len(body))}
	if e.RawQueryString != "" {
		r.Target += "?" + e.RawQueryString
	}
	for _, name := range slices.Sorted(maps.Keys(e.Headers)) {
		if !IsHopByHop(name) && !strings.EqualFold(name, "Content-Length") && !strings.EqualFold(name, "Expect") {
			r.Header = append(r.Header, thaw.HTTPField{Name: name, Value: e.Headers[name]})
		}
	}
	if !slices.ContainsFunc(r.Header, func(f thaw.HTTPField) bool { return strings.EqualFold(f.Name, "Host") }) {
		r.Header = append(r.Header, thaw.HTTPField{Name: "host", Value: cmp.Or(e.RequestContext.DomainName, "localhost")})
	}
	if len(e.Cookies) > 0 {
		r.Header = append(r.Header, thaw.HTTPField{Name: "cookie", Value: strings.Join(e.Cookies, "; ")})
	}
	if len(body) > 0 {
		r.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	return r, nil
}

// reply is what a function returns.
type reply struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies,omitempty"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// Reply returns what a function would return that replied with r and body.
func Reply(r thaw.HTTPReply, body []byte) []byte {
	out := reply{StatusCode: r.Status, Headers: map[string]string{}, Body: string(body)}
	for _, f := range r.Header {
		name := strings.ToLower(f.Name)
		switch before, more := out.Headers[name]; {
		case IsHopByHop(name) || name == "content-length":
		case name == "set-cookie":
			out.Cookies = append(out.Cookies, f.Value)
		case more:
			out.Headers[name] = before + "," + f.Value
		default:
			out.Headers[name] = f.Value
		}
	}
	if !utf8.Valid(body) {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(fmt.Sprintf("encode reply: %v", err)) // strings always marshal
	}
	return b
}

// IsHopByHop names headers that are a connection's, not a message's (RFC 9110, section
// 7.6.1). Letters count as the same in either case.
func IsHopByHop(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade":
		return true
	}
	return false
}
