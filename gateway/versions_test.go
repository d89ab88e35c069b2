package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"thaw"
)

func (e fakeEngine) Versions(_ context.Context, name string) ([]thaw.VersionInfo, error) {
	return nil, e.versions("versions of " + name)
}

func (e fakeEngine) Rollback(_ context.Context, name string, number int) (thaw.Version, error) {
	return thaw.Version{Function: name, Number: number}, e.versions(fmt.Sprintf("roll %s back to %d", name, number))
}

func (e fakeEngine) Aliases(_ context.Context, name string) ([]thaw.Alias, error) {
	return nil, e.versions("aliases of " + name)
}

func (e fakeEngine) SetAlias(_ context.Context, name string, a thaw.Alias) error {
	return e.versions(fmt.Sprint("set ", name, " ", a))
}

func (e fakeEngine) RemoveAlias(_ context.Context, name, alias string) error {
	return e.versions("remove " + alias + " of " + name)
}

func TestVersions(t *testing.T) {
	tests := []struct {
		method, path, body string
		status             int
		contains           string
		call               string // what the engine is asked
	}{
		{"GET", "/versions", "", 200, `{"versions":[]}`, "versions of hello"},
		{"GET", ":1/versions", "", 400, `function name \"hello:1\" is not valid`, ""},
		{"POST", "/rollback", "", 200, `"version":0`, "roll hello back to 0"},
		{"POST", "/rollback?version=3", "", 200, `"version":3`, "roll hello back to 3"},
		{"POST", "/rollback?version=live", "", 400, `version \"live\" is not valid`, ""},
		{"POST", ":live/rollback", "", 400, `not valid`, ""},
		{"GET", "/rollback", "", 405, `use POST`, ""},
		{"GET", "/aliases", "", 200, `{"aliases":[]}`, "aliases of hello"},
		{"PUT", "/aliases/live", `{"version":1,"weights":{"2":0.1}}`, 200, `{"alias":"live","version":1,"weights":{"2":0.1}}`, "set hello {live 1 map[2:0.1] }"},
		{"PUT", "/aliases/live", `{"version":0}`, 400, `version 0 of alias live`, ""},
		{"PUT", "/aliases/live", `{"version":1,"weights":{"2":1.1}}`, 400, `out of range`, ""},
		{"PUT", "/aliases/live", `{"version":1,"weights":{"one":1}}`, 400, `cannot be read`, ""},
		{"PUT", "/aliases/live", `{"version":1,"shadow":true}`, 400, `cannot be read`, ""},
		{"PUT", "/aliases/live", `{"version":1}{}`, 400, `something follows`, ""},
		{"PUT", "/aliases/live", `{"version":1` + strings.Repeat(" ", 20<<10) + `}`, 400, `cannot be read`, ""},
		{"PUT", "/aliases/7", `{"version":1}`, 400, `digits alone name a version`, ""},
		{"PUT", "/aliases/$LATEST", `{"version":1}`, 400, `not valid`, ""},
		{"PUT", ":2/aliases/live", `{"version":1}`, 400, `not valid`, ""},
		{"DELETE", "/aliases/live", "", 204, "", "remove live of hello"},
		{"PUT", ":2", "", 400, `not valid`, ""},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			var call string
			url, _ := start(t, fakeEngine{versions: func(c string) error { call = c; return nil }})
			got := do(t, test.method, url+"/v1/functions/hello"+test.path, nil, strings.NewReader(test.body))
			if got.status != test.status || !strings.Contains(got.body, test.contains) || call != test.call {
				t.Errorf("%d %s, the engine was asked %q", got.status, got.body, call)
			}
		})
	}
}

// TestQualifiers names a version in every place where that is possible.
func TestQualifiers(t *testing.T) {
	for path, want := range map[string]string{
		"hello/invocations":                                "hello",
		"hello:1/invocations":                              "hello:1",
		"hello%3Alive/invocations":                         "hello:live",
		"hello:$LATEST/invocations":                        "hello:$LATEST",
		"hello/invocations?Qualifier=2":                    "hello:2",
		"hello/invocations?Qualifier=$LATEST":              "hello:$LATEST",
		"hello:live/invocations?Qualifier=live":            "hello:live",
		"hello:1/invocations?Qualifier=2":                  "",
		"hello:/invocations":                               "",
		"hello:0/invocations":                              "",
		"hello:1:2/invocations":                            "",
		"hello/invocations?Qualifier=a.b":                  "",
		"hello/invocations?Qualifier=0012":                 "",
		"hello/invocations?Qualifier=99999999999999999999": "",
	} {
		var seen string
		url, _ := start(t, fakeEngine{
			invoke: func(ctx context.Context, r thaw.InvokeRequest) (thaw.Reply, error) {
				seen = r.Function
				return echo(ctx, r)
			},
			describe: func(name string) (thaw.Description, error) { seen = name; return thaw.Description{}, nil },
		})
		got := do(t, "POST", url+"/2015-03-31/functions/"+path, nil, nil)
		if want == "" {
			checkLambdaError(t, got, 400, "InvalidParameterValueException", "User")
			continue
		}
		if got.status != 200 || seen != want || got.header.Get("X-Amz-Executed-Version") != "3" {
			t.Errorf("%s: %d %s, the engine was asked for %q", path, got.status, got.body, seen)
		}
		dry := do(t, "POST", url+"/2015-03-31/functions/"+path, http.Header{"X-Amz-Invocation-Type": {"DryRun"}}, nil)
		if dry.status != 204 || seen != want {
			t.Errorf("%s: %d, described %q", path, dry.status, seen)
		}
	}
}
