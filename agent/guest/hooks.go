package guest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"thaw"
	"thaw/agent/wire"
)

// errorTypeHookPath is a request for a path that is the agent's alone.
const errorTypeHookPath = "Runtime.HookPath"

// hookPaths are the paths of a server's hooks, which no client may ask for: whoever
// could would have a clone draw its state anew, or let go of it, while it serves.
type hookPaths []pathForms

// newHookPaths returns those that the environment of a function names.
func newHookPaths(env map[string]string) (h hookPaths) {
	for _, variable := range []string{hookBefore, hookAfter} {
		if path := env[variable]; path != "" {
			h = append(h, formsOf(path))
		}
	}
	return h
}

// refuse reports whether a server may take target, that of a request, for a hook.
// Servers differ on what a path with ".." leads to once parts of it are escaped, so
// that none is let through to a server with hooks.
func (h hookPaths) refuse(target string) bool {
	if len(h) == 0 {
		return false
	}
	forms := formsOf(target)
	return forms.climbs() || slices.ContainsFunc(h, forms.same)
}

// pathForms are the segments of a path as servers may read it: without escapes, "."
// and empty ones, as it is and without what follows a ";" in each.
type pathForms struct {
	plain, bare []string
	// authority is whether the first segment may be read as a host, as URL parsers do
	// with what begins with two slashes.
	authority bool
}

func formsOf(target string) pathForms {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	return pathForms{
		plain:     segments(unescaped(target)),
		bare:      segments(withoutParameters(unescaped(withoutParameters(target)))),
		authority: len(target) > 1 && isSlash(rune(target[1])),
	}
}

// climbs reports whether there is a ".." among the segments.
func (p pathForms) climbs() bool {
	return slices.ContainsFunc(p.plain, func(s string) bool { return s == ".." || strings.HasPrefix(s, "..;") }) || slices.Contains(p.bare, "..")
}

// same reports whether a server may take p for hook. Many have no regard to case.
func (p pathForms) same(hook pathForms) bool {
	return slices.EqualFunc(p.plain, hook.plain, strings.EqualFold) || slices.EqualFunc(p.bare, hook.bare, strings.EqualFold) ||
		p.authority && len(p.bare) > 0 && slices.EqualFunc(p.bare[1:], hook.bare, strings.EqualFold)
}

func isSlash(r rune) bool { return r == '/' || r == '\\' }

// segments splits a path, and leaves out what leads nowhere.
func segments(path string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(path, isSlash), func(s string) bool { return s == "." })
}

// withoutParameters takes "/a;b=c/d" to "a/d".
func withoutParameters(path string) string {
	parts := strings.FieldsFunc(path, isSlash)
	for i := range parts {
		parts[i], _, _ = strings.Cut(parts[i], ";")
	}
	return strings.Join(parts, "/")
}

// unescaped decodes path as often as there is something to decode: a proxy of the
// function's own may have done so before its server does. What is no escape stays.
func unescaped(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		out = append(out, path[i])
		for n := len(out) - 3; n >= 0 && out[n] == '%'; n = len(out) - 3 {
			c, err := strconv.ParseUint(string(out[n+1:]), 16, 8)
			if err != nil {
				break
			}
			out = append(out[:n], byte(c))
		}
	}
	return string(out)
}

// refuse replies 404 in the server's place.
func (e *exchange) refuse(method, target string) {
	body, err := json.Marshal(thaw.FunctionError{Type: errorTypeHookPath, Message: fmt.Sprintf(
		"%.200q may lead to a path of %s or %s, which only the agent in the guest asks for: ask for another, without \"..\"", target, hookBefore, hookAfter)})
	if err != nil {
		e.broken(err)
		return
	}
	head := fmt.Sprintf("HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	out := e.web.fn.link.batch(e.session)
	out.add(&wire.Head{Stream: e.open.Stream}, []byte(head))
	if method == "HEAD" || e.send(out, body, true) {
		e.finish(out, nil)
	}
}
