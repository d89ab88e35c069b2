// Package testcache says where tests keep what takes minutes to make.
package testcache

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir is $THAW_TEST_CACHE, or thaw-test in the user's cache folder. It may not exist yet.
// Without either the test fails.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("THAW_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("no cache folder (%v): set THAW_TEST_CACHE", err)
	}
	return filepath.Join(dir, "thaw-test")
}
