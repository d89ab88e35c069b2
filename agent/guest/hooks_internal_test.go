package guest

import "testing"

// TestHookPaths: whatever some server would take for a hook is refused, and what is
// only like one is not.
func TestHookPaths(t *testing.T) {
	h := newHookPaths(map[string]string{hookBefore: "/hook/before", hookAfter: "/after%20all?restore=yes", "OTHER": "/other"})
	for _, target := range []string{
		"/hook/before", "/hook/before/", "/hook/before?a=b", "/hook/before#a", "//hook/before", "/hook//before", "/hook/./before", "/./hook/before/.",
		"/hook%2fbefore", "/hook%2Fbefore", "/%68ook/before", "/hook%252fbefore", "/hook%2%66before", "/hook/%2e/before", "/HOOK/Before", `/hook\before`, "/hook%5cbefore",
		"/x/../hook/before", "/x/%2e%2e/hook/before", "/x%2f..%2fhook/before", "/a%2fb/../hook/before", "/x;%2f../hook/before", "/x/..;/hook/before", "/hook/before/..",
		"/hook;a=b/before", "/hook/before;a", "/hook/before%3ba", "/hook;a=x%2fy/before", "/hook/.;a/before", "//example.com/hook/before", `/\example.com/hook/before`,
		"/after%20all", "/after%2520all", "/AFTER%20ALL/?restore=no",
	} {
		if !h.refuse(target) {
			t.Errorf("%s is let through", target)
		}
	}
	for _, target := range []string{
		"/", "/hook", "/hook/", "/hook/before/x", "/hook/beforehand", "/x/hook/before", "/hook.before", "/hook/be%zzfore", "/%", "/%2", "/after", "/after+all",
		"/other", "/?path=/hook/before", "/?path=../hook/before", "/a..b", "/hook/...", "/x%2fhook/before", "/hookbefore",
	} {
		if h.refuse(target) {
			t.Errorf("%s is refused", target)
		}
	}
	if none := newHookPaths(nil); none.refuse("/x/../hook/before") || none.refuse("/") {
		t.Error("a server without hooks is kept from its own paths")
	}
}
