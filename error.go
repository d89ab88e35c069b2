package thaw

import (
	"errors"
	"fmt"
)

// Code classifies an error for the edges: each edge (HTTP status, exit code)
// maps it once, in one table.
type Code string

const (
	// CodeInvalid is a request that can never succeed as it is.
	CodeInvalid Code = "invalid"
	// CodeNotFound is a name that does not exist.
	CodeNotFound Code = "not_found"
	// CodeConflict is a state that forbids the request now.
	CodeConflict Code = "conflict"
	// CodeTooLarge is a body or a code package over its limit.
	CodeTooLarge Code = "too_large"
	// CodeThrottled is a limit on concurrency; trying again later helps.
	CodeThrottled Code = "throttled"
	// CodeFunction is a function that failed by itself: an exception, a
	// timeout, an exit, a failed init.
	CodeFunction Code = "function_error"
	// CodeInstance is a VM that died or misbehaved under an invocation.
	CodeInstance Code = "instance_failed"
	// CodeUnavailable is a daemon that is stopping or a machine that lacks
	// something, such as QEMU.
	CodeUnavailable Code = "unavailable"
	// CodeInternal is everything else. Its detail belongs in the log.
	CodeInternal Code = "internal"
)

// Error is an error with a code. Its text is fit for a user: what is wrong and
// what to do.
type Error struct {
	Code Code
	Err  error
}

// Error returns the text without the code.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [*Error] with the given code; %w keeps a cause reachable by
// errors.Is and errors.As.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// CodeOf returns the code of the first [*Error] in err's chain,
// [CodeInternal] when there is none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return CodeInternal
}
