package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"thaw"
)

func TestAdmin(t *testing.T) {
	record := thaw.Invocation{ID: "id-1", Function: "hello"}
	e := fakeEngine{
		describe: func(string) (thaw.Description, error) { return thaw.Description{}, nil },
		remove:   func(string) error { return nil },
		logs: func(_ string, q thaw.LogQuery) ([]thaw.LogLine, error) {
			if q.RequestID != "" {
				return []thaw.LogLine{{Text: fmt.Sprintf("request %s since %s", q.RequestID, q.Since.Format(time.RFC3339))}}, nil
			}
			return []thaw.LogLine{{Text: fmt.Sprint("limit ", q.Limit)}}, nil
		},
		invocation: func(id string) (thaw.Invocation, error) {
			if id != "id-1" {
				return thaw.Invocation{}, thaw.Errorf(thaw.CodeNotFound, "no invocation %s", id)
			}
			return record, nil
		},
	}
	tests := []struct {
		method, path string
		status       int
		contains     string
	}{
		{"GET", "/v1/functions", 200, `{"functions":[]}`},
		{"GET", "/v1/functions?prefix=a&after=b&limit=7", 200, `"function":"{Prefix:a After:b Limit:7}"`},
		{"GET", "/v1/functions?limit=7", 200, `"more":true`},
		{"GET", "/v1/functions?limit=0", 400, `from 1`},
		{"GET", "/v1/functions?limit=9223372036854775808", 400, `from 1`},
		{"GET", "/v1/functions/hello", 200, `"instances":[],"invocations":[]`},
		{"DELETE", "/v1/functions/hello", 204, ""},
		{"GET", "/v1/functions/hello/logs", 200, `"limit 1000"`},
		{"GET", "/v1/functions/hello/logs?limit=7", 200, `"limit 7"`},
		{"GET", "/v1/functions/hello/logs?limit=0", 400, `from 1 to 10000`},
		{"GET", "/v1/functions/hello/logs?limit=10001", 400, `from 1 to 10000`},
		{"GET", "/v1/functions/hello/logs?limit=1&limit=2", 400, `given 2 times`},
		{"GET", "/v1/functions/hello/logs?request=r-1&since=2026-01-02T03:04:05Z", 200, `"request r-1 since 2026-01-02T03:04:05Z"`},
		{"GET", "/v1/functions/hello/logs?since=yesterday", 400, `such as 10m`},
		{"GET", "/v1/functions/hello/logs?follow=perhaps", 400, `write true or false`},
		{"GET", "/v1/functions/hello/logs?follow=1&limit=-1", 400, `from 0 to 10000`},
		{"GET", "/v1/functions/hello/logs?tail=1", 400, `this address takes follow, limit, request, since`},
		{"GET", "/v1/functions/he%2Fllo", 400, `not valid`},
		{"GET", "/v1/instances", 200, `{"instances":[]}`},
		{"GET", "/v1/instances?x=%zz", 400, `query of the address`},
		{"GET", "/v1/invocations/id-1", 200, `"id":"id-1"`},
		{"GET", "/v1/invocations/id-2", 404, `"code":"not_found"`},
		{"GET", "/v1/info", 200, `"pid":7`},
		{"GET", "/healthz", 200, `{"status":"ok"}`},
		{"HEAD", "/healthz", 200, ``},
		{"POST", "/v1/functions", 405, `use GET`},
		{"POST", "/v1/functions/hello", 405, `use DELETE, GET, PUT`},
		{"GET", invokeURL, 405, `use POST`},
		{"GET", "/v2/functions", 404, `there is no`},
		{"GET", "/", 404, `there is no`},
	}
	url, _ := start(t, e)
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			got := do(t, test.method, url+test.path, nil, nil)
			if got.status != test.status || !strings.Contains(got.body, test.contains) {
				t.Errorf("%d %s", got.status, got.body)
			}
			if got.body != "" && got.header.Get("Content-Type") != "application/json" {
				t.Errorf("type %s", got.header.Get("Content-Type"))
			}
			if test.status == 405 && !strings.Contains(got.body, got.header.Get("Allow")) {
				t.Errorf("Allow: %s", got.header.Get("Allow"))
			}
		})
	}
}

func TestWebPagesAreKeptOut(t *testing.T) {
	url, _ := start(t, fakeEngine{invoke: echo})
	tests := []struct {
		name   string
		header http.Header
		status int
	}{
		{"no browser", nil, 200},
		{"same origin", http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
		{"other page", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://example.com"}}, 403},
		{"rebound name", http.Header{"Host": {"example.com:80"}}, 403},
		{"localhost", http.Header{"Host": {"localhost:7300"}}, 200},
		{"IPv6", http.Header{"Host": {"[::1]"}}, 200},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := do(t, "POST", url+invokeURL, test.header, nil); got.status != test.status {
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
}
