package thaw

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// TraceContext is where a request stands in a distributed trace, in the words of
// the W3C Trace Context recommendation (https://www.w3.org/TR/trace-context/).
// It is handed on unchanged; the spans that thaw itself exports are children of it.
type TraceContext struct {
	// Parent is a traceparent header, "" for none.
	Parent string `json:"parent,omitempty"`
	// State is the tracestate header that belongs to it.
	State string `json:"state,omitempty"`
}

// maxTraceState is what a tracestate must be propagated up to, in bytes (W3C
// Trace Context, section 3.3.1.5). A longer one is dropped whole.
const maxTraceState = 512

var traceParentRule = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// ParseTraceContext returns the context of two header values, and none when parent
// is not valid: a broken trace must not break its request.
func ParseTraceContext(parent, state string) TraceContext {
	if !traceParentRule.MatchString(parent) || strings.HasPrefix(parent, "ff") ||
		strings.Trim(parent[3:35], "0") == "" || strings.Trim(parent[36:52], "0") == "" {
		return TraceContext{}
	}
	if len(state) > maxTraceState || strings.ContainsAny(state, "\r\n") {
		state = ""
	}
	return TraceContext{Parent: parent, State: state}
}

// XRay returns the context as AWS X-Ray writes it, with the same ids, which is
// what the Lambda Runtime API hands to functions, "" for none.
func (t TraceContext) XRay() string {
	if t.Parent == "" {
		return ""
	}
	trace, span, flags := t.Parent[3:35], t.Parent[36:52], t.Parent[54]
	sampled := strings.IndexByte("0123456789abcdef", flags) & 1
	return fmt.Sprintf("Root=1-%s-%s;Parent=%s;Sampled=%d", trace[:8], trace[8:], span, sampled)
}

// ClientContext returns the context as the custom part of Lambda's client context,
// a JSON object, "" for none.
func (t TraceContext) ClientContext() string {
	if t.Parent == "" {
		return ""
	}
	custom := map[string]string{"traceparent": t.Parent}
	if t.State != "" {
		custom["tracestate"] = t.State
	}
	raw, err := json.Marshal(map[string]any{"custom": custom})
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(raw)
}
