package queue

import (
	"encoding/json"
	"errors"

	"thaw"
)

// functionError is a reply that tells of a failure of the function itself.
type functionError struct {
	kind    string
	payload []byte
}

// Error returns the type and the message.
func (e *functionError) Error() string {
	var body thaw.FunctionError
	if json.Unmarshal(e.payload, &body) != nil || body.Message == "" {
		return e.kind
	}
	return e.kind + ": " + body.Message
}

// Unwrap returns an error with the code that all such failures have.
func (e *functionError) Unwrap() error {
	return &thaw.Error{Code: thaw.CodeFunction, Err: errors.New(e.kind)}
}

// resultOf returns what a callback tells of an invocation that is over.
func resultOf(reply *thaw.Reply, failure error) (thaw.CallResult, []byte) {
	if reply == nil {
		reply = &thaw.Reply{}
	}
	result := thaw.CallResult{FunctionError: reply.FunctionError, DurationMS: reply.DurationMS, Version: reply.Version}
	if failure == nil || reply.FunctionError != "" {
		return result, reply.Payload
	}
	result.Code = thaw.CodeOf(failure)
	return result, thaw.FunctionError{Type: string(result.Code), Message: clip(failure.Error())}.JSON()
}
