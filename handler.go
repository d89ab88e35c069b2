package thaw

import "regexp"

var (
	// pythonHandlerRule takes pkg.mod.func and pkg/mod.func.
	pythonHandlerRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*([./][A-Za-z_][A-Za-z0-9_]*)*\.[A-Za-z_][A-Za-z0-9_]*$`)
	// nodeHandlerRule takes dir/mod.func and nested exports, mod.object.func.
	nodeHandlerRule = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*(\.[A-Za-z_$][A-Za-z0-9_$]*)+$`)
)

// defaultHandler is "" for a runtime that needs none.
func defaultHandler(r Runtime) string {
	switch r {
	case RuntimePython:
		return "app.handler"
	case RuntimeNode:
		return "index.handler"
	case RuntimeHTTP:
		return DefaultCommand
	}
	return ""
}

func (s Settings) validateHandler() error {
	if s.Image != nil {
		return s.validateImage()
	}
	if len(s.Handler) > MaxHandlerLen {
		return Errorf(CodeInvalid, "handler is %d bytes long: use at most %d", len(s.Handler), MaxHandlerLen)
	}
	good := true
	switch s.Runtime {
	case RuntimePython:
		good = pythonHandlerRule.MatchString(s.Handler)
	case RuntimeNode:
		good = nodeHandlerRule.MatchString(s.Handler)
	case RuntimeHTTP:
		return s.validateCommand()
	}
	if !good {
		return Errorf(CodeInvalid, "handler %q is not valid: write it as module.function, such as %s", s.Handler, defaultHandler(s.Runtime))
	}
	return nil
}
