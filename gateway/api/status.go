package api

import (
	"net/http"

	"thaw"
)

// The blame of a Lambda error.
const (
	BlameUser    = "User"
	BlameService = "Service"
)

// Mapping says how an error code looks over HTTP.
type Mapping struct {
	Code   thaw.Code
	Status int
	// Lambda is the error type of the Lambda API, Blame its Type field.
	Lambda, Blame string
}

// mappings is the one table from codes to HTTP. The last row is for codes that
// are not in it. The first row of a status is what the status maps back to.
func mappings() []Mapping {
	return []Mapping{
		{thaw.CodeInvalid, http.StatusBadRequest, "InvalidParameterValueException", BlameUser},
		{thaw.CodeNotFound, http.StatusNotFound, "ResourceNotFoundException", BlameUser},
		{thaw.CodeConflict, http.StatusConflict, "ResourceConflictException", BlameUser},
		{thaw.CodeTooLarge, http.StatusRequestEntityTooLarge, "RequestTooLargeException", BlameUser},
		{thaw.CodeThrottled, http.StatusTooManyRequests, "TooManyRequestsException", BlameUser},
		{thaw.CodeFunction, http.StatusUnprocessableEntity, "InvalidRuntimeException", BlameUser},
		{thaw.CodeInstance, http.StatusBadGateway, "ServiceException", BlameService},
		{thaw.CodeUnavailable, http.StatusServiceUnavailable, "ServiceException", BlameService},
		{thaw.CodeInternal, http.StatusInternalServerError, "ServiceException", BlameService},
	}
}

// MappingOf returns how code looks over HTTP, that of [thaw.CodeInternal] for
// an unknown one.
func MappingOf(code thaw.Code) Mapping {
	all := mappings()
	for _, m := range all {
		if m.Code == code {
			return m
		}
	}
	return all[len(all)-1]
}

// CodeOfStatus returns the code that status maps back to, for a reply that
// carries none.
func CodeOfStatus(status int) thaw.Code {
	for _, m := range mappings() {
		if m.Status == status {
			return m.Code
		}
	}
	if status >= 400 && status < 500 {
		return thaw.CodeInvalid
	}
	return thaw.CodeInternal
}
