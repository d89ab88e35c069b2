package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// httpError is an error whose status or Lambda type is not that of its code.
type httpError struct {
	status int
	lambda string // "" is that of the code
	err    error
}

func (e httpError) Error() string { return e.err.Error() }
func (e httpError) Unwrap() error { return e.err }

// reply makes an http.Handler of h: its error becomes the reply.
func (h handlers) reply(f handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
}

// fail sends err. Nothing may have been written before.
func (h handlers) fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	m := h.mappingOf(err)
	message := h.message(r, err)
	if m.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Cache-Control", "no-store")
	if !isLambda(r.URL.Path) {
		writeJSON(w, m.Status, api.Error{Code: m.Code, Message: message})
		return
	}
	w.Header().Set(api.HeaderErrorType, m.Lambda)
	w.Header().Set(api.HeaderServerTiming, api.FormatTiming(nil, milliseconds(time.Since(x.began))))
	writeJSON(w, m.Status, api.LambdaError{Type: m.Blame, Message: message, MessageLower: message, Code: m.Code})
}

func (h handlers) mappingOf(err error) api.Mapping {
	m := api.MappingOf(thaw.CodeOf(err))
	if e, ok := errors.AsType[httpError](err); ok {
		m.Status = e.status
		if e.lambda != "" {
			m.Lambda = e.lambda
		}
	}
	return m
}

// message returns what the caller may read of err. The detail of an internal
// error goes to the log only: it may name files or hold another tenant's data.
func (h handlers) message(r *http.Request, err error) string {
	x := exchangeOf(r)
	x.failure = err
	if api.MappingOf(thaw.CodeOf(err)).Code != thaw.CodeInternal || r.Context().Err() != nil {
		return err.Error()
	}
	h.Logger.Error("internal error", slog.String("request", x.id), slog.Any("error", err))
	return fmt.Sprintf("internal error in request %s: see the daemon's log", x.id)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("encode reply: %v", err)) // a body is always plain data
	}
	w.Header().Set("Content-Type", api.TypeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)+1))
	w.WriteHeader(status)
	// A client that is gone is seen by the server itself.
	_, _ = w.Write(append(raw, '\n'))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// printable quotes what a client sent for use in a message, cut to a length
// that a line can bear.
func printable(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.QuoteToGraphic(s)
}
