package tracing

import (
	"net/http"
	"net/url"
	"strings"

	"thaw"
)

// Target is where spans go.
type Target struct {
	// URL takes them by POST.
	URL string
	// Headers go with each request, such as one that authenticates.
	Headers http.Header
}

// The variables of the OpenTelemetry protocol exporter specification
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
const (
	envEndpoint       = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envTracesEndpoint = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	envHeaders        = "OTEL_EXPORTER_OTLP_HEADERS"
	envTracesHeaders  = "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
)

// pathTraces is what follows the URL of a collector.
const pathTraces = "/v1/traces"

// FindTarget returns where spans go: below endpoint, the URL of a collector, or where
// the environment says that OpenTelemetry's programs send them; ok is false if
// nobody says so. getenv is [os.Getenv].
func FindTarget(endpoint string, getenv func(string) string) (t Target, ok bool, err error) {
	if endpoint == "" && getenv(envTracesEndpoint) != "" {
		t.URL, err = checkURL(getenv(envTracesEndpoint), "", envTracesEndpoint)
	} else {
		name := "--otlp-endpoint"
		if endpoint == "" {
			endpoint, name = getenv(envEndpoint), envEndpoint
		}
		if endpoint == "" {
			return Target{}, false, nil
		}
		t.URL, err = checkURL(endpoint, pathTraces, name)
	}
	if err != nil {
		return Target{}, false, err
	}
	t.Headers = http.Header{}
	for _, name := range []string{envHeaders, envTracesHeaders} {
		if err := addHeaders(t.Headers, getenv(name), name); err != nil {
			return Target{}, false, err
		}
	}
	return t, true, nil
}

func checkURL(raw, path, name string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", thaw.Errorf(thaw.CodeInvalid, "%s %q is not the URL of a collector: write one such as http://localhost:4318", name, raw)
	}
	if path != "" {
		u = u.JoinPath(path)
	}
	return u.String(), nil
}

// addHeaders takes in a list such as "api-key=secret,x=y", whose values may be
// percent-encoded. A bad one is not repeated in the error: it may be a secret.
func addHeaders(to http.Header, list, name string) error {
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil {
			return thaw.Errorf(thaw.CodeInvalid, "%s is not a list of headers: write it as name=value,name=value", name)
		}
		to.Set(key, value)
	}
	return nil
}
