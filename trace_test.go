package thaw

import (
	"strings"
	"testing"
)

func TestTraceContext(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	c := ParseTraceContext(good, "vendor=1")
	if want := (TraceContext{good, "vendor=1"}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
	if got, want := c.XRay(), "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := c.ClientContext(), `{"custom":{"traceparent":"`+good+`","tracestate":"vendor=1"}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := ParseTraceContext(good[:54]+"2", "").XRay(); !strings.HasSuffix(got, "Sampled=0") {
		t.Error(got)
	}
	if got := ParseTraceContext(good, strings.Repeat("x", maxTraceState+1)); got.State != "" || got.Parent != good {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{
		"", "00", strings.ToUpper(good), "ff" + good[2:], good + "-x", good[:3] + strings.Repeat("0", 32) + good[35:],
		good[:36] + strings.Repeat("0", 16) + good[52:], good + "\r\nX: y",
	} {
		if got := ParseTraceContext(bad, "a=b"); got != (TraceContext{}) || got.XRay() != "" || got.ClientContext() != "" {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestAsked(t *testing.T) {
	for qualifier, want := range map[string]string{"": "hello version 2", "2": "hello version 2", "live": "hello version 2 (live)", Latest: "hello version 2 ($LATEST)"} {
		if got := (Invocation{Function: "hello", Version: 2, Qualifier: qualifier}).Asked(); got != want {
			t.Errorf("%s: %s, want %s", qualifier, got, want)
		}
	}
}
