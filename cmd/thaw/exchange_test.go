package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestInvokeHTTP sends requests to a function that is an HTTP server.
func TestInvokeHTTP(t *testing.T) {
	d, dir := serveMemory(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "server.py"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d.thaw(t, "", "deploy", "web", dir, "--runtime", "http", "--handler", "python3 server.py").want(t, 0, "", "")
	d.thaw(t, "", "invoke", "web", "--path", "/a%20b?c=d", "-X", "PUT", "-H", "X-A: b", "-d", "no JSON").want(t, 0, "PUT /a%20b?c=d [b] no JSON", "")
	d.thaw(t, "", "invoke", "web", "--path", "users").want(t, 0, "GET /users [] ", "")
	d.thaw(t, "from stdin", "invoke", "web", "--path", "/", "-").want(t, 0, "POST / [] from stdin", "")
	d.thaw(t, "", "invoke", "web", "--path", "/missing").want(t, 1, "GET /missing", "404")
	d.thaw(t, "", "invoke", "nobody", "--path", "/").want(t, 1, "", "404")
}
