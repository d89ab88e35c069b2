package gateway

import (
	"strings"
	"testing"

	"thaw"
)

// TestSecretsAreWriteOnly: no path tells a value, and neither does the log or an error.
func TestSecretsAreWriteOnly(t *testing.T) {
	e := fakeEngine{remove: func(name string) error {
		if name == "used" {
			return thaw.Errorf(thaw.CodeConflict, "secret used is named by 1 versions")
		}
		return nil
	}}
	url, log := start(t, e)
	for _, test := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"PUT", "/v1/secrets/db", "hunter2", 200, `"bytes":7`},
		{"PUT", "/v1/secrets/empty", "", 200, `"bytes":0`},
		{"PUT", "/v1/secrets/db", "refused", 413, `too large`},
		{"PUT", "/v1/secrets/..%2Fdb", "hunter2", 400, "not valid"},
		{"PUT", "/v1/secrets/.db", "hunter2", 400, "not valid"},
		{"PUT", "/v1/secrets/db?x=1", "hunter2", 400, "takes none"},
		{"GET", "/v1/secrets", "", 200, `{"secrets":[{"name":"db","bytes":7,`},
		{"GET", "/v1/secrets/db", "", 405, "use DELETE, PUT"},
		{"DELETE", "/v1/secrets/db", "", 204, ""},
		{"DELETE", "/v1/secrets/used", "", 409, "named by"},
		{"POST", "/system/secrets", `{"name": "db", "value": "hunter2"}`, 201, ""},
		{"PUT", "/system/secrets?namespace=fn", `{"name": "db", "rawValue": "aHVudGVyMg==", "namespace": "fn"}`, 200, ""},
		{"POST", "/system/secrets", `{"name": "..", "value": "hunter2"}`, 400, "not valid"},
		{"POST", "/system/secrets", `{"name": "db", "value": hunter2}`, 400, "cannot be read"},
		{"POST", "/system/secrets", `{"name": "db", "value": ["hunter2"]}`, 400, "cannot be read"},
		{"GET", "/system/secrets", "", 200, `[{"name":"db"}]`},
		{"DELETE", "/system/secrets", `{"name": "db"}`, 200, ""},
		{"DELETE", "/system/secrets", `{"name": "used"}`, 409, "named by"},
	} {
		got := do(t, test.method, url+test.path, nil, strings.NewReader(test.body))
		if got.status != test.status || !strings.Contains(got.body, test.contains) || strings.Contains(got.body, "hunter2") {
			t.Errorf("%s %s: %d %s", test.method, test.path, got.status, got.body)
		}
	}
	if strings.Contains(log.String(), "hunter2") || strings.Contains(log.String(), "refused") {
		t.Errorf("the log holds a value:\n%s", log)
	}
}
