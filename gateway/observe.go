package gateway

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// statusGone is what the log says of a request whose client went away; nobody
// reads it on the wire. The number is nginx's.
const statusGone = 499

// exchange is one request on its way, for the log.
type exchange struct {
	id      string
	began   time.Time
	failure error  // what the client was told of
	start   string // of an invocation
	// invocation is the id of its record.
	invocation string
}

type exchangeKey struct{}

// exchangeOf returns the exchange that observe put into r's context.
func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// observe gives each request an id and writes its line to the log.
func (h handlers) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{id: rand.Text(), began: time.Now()}
		rec := &recorder{ResponseWriter: w, patience: cmp.Or(h.Patience, bodyTimeout)}
		rec.Header().Set(api.HeaderRequestID, x.id)
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() { h.log(r, rec, x) }()
		next.ServeHTTP(rec, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

func (h handlers) log(r *http.Request, rec *recorder, x *exchange) {
	status := rec.status
	if r.Context().Err() != nil {
		status = statusGone
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
		slog.Int64("bytes", rec.bytes), slog.Float64("ms", milliseconds(time.Since(x.began))),
		slog.String("request", x.id), slog.String("from", r.RemoteAddr),
	}
	if x.start != "" {
		attrs = append(attrs, slog.String("invocation", x.invocation), slog.String("start", x.start))
	}
	if x.failure != nil {
		attrs = append(attrs, slog.String("error", x.failure.Error()))
	}
	h.Logger.LogAttrs(context.WithoutCancel(r.Context()), level(r, x), "request", attrs...)
}

// level keeps what is asked for again and again, by scrapers and by thaw top, from
// burying the rest of the log.
func level(r *http.Request, x *exchange) slog.Level {
	polled := []string{api.PathMetrics, api.PathHealth, api.PathInfo, api.PathInstances}
	if r.Method == http.MethodGet && x.failure == nil && slices.Contains(polled, r.URL.Path) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// recorder notes what was sent through it.
type recorder struct {
	http.ResponseWriter
	patience time.Duration
	status   int
	bytes    int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if len(p) > hasty {
		conn := http.NewResponseController(w.ResponseWriter)
		// A writer without deadlines is that of a test; nothing is lost.
		_ = conn.SetWriteDeadline(time.Now().Add(w.patience))
		defer func() { _ = conn.SetWriteDeadline(time.Time{}) }()
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// hasty is what the buffers of a connection take at once; for the rest a client that
// does not read would be waited for without end.
const hasty = 16 << 10

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// protect keeps web pages in a browser on this machine from using a daemon
// that trusts whoever can connect.
func (h handlers) protect(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	return h.reply(func(w http.ResponseWriter, r *http.Request) error {
		if err := origin.Check(r); err != nil {
			return forbidden(err)
		}
		if err := checkHost(r); err != nil {
			return forbidden(err)
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

func forbidden(err error) error {
	return httpError{http.StatusForbidden, "AccessDeniedException", &thaw.Error{Code: thaw.CodeInvalid, Err: err}}
}

// checkHost refuses a name in the Host header when the connection came in on a
// loopback address: a page whose name was made to resolve to 127.0.0.1 sends
// its own.
func checkHost(r *http.Request) error {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() {
		return nil
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if _, err := netip.ParseAddr(trimBrackets(host)); err == nil || host == "localhost" || host == "" {
		return nil
	}
	return errors.New("the host name of the request is not this machine's: use localhost or an address")
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
