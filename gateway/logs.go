package gateway

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) logs(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	follow, err := parseFollow(query.Get("follow"))
	if err != nil {
		return err
	}
	q := thaw.LogQuery{RequestID: query.Get("request")}
	if q.Limit, err = parseLimit(query.Get("limit"), follow); err != nil {
		return err
	}
	if q.Since, err = api.ParseSince(query.Get("since"), time.Now()); err != nil {
		return err
	}
	if follow {
		return h.followLogs(w, r, q)
	}
	lines, err := h.Monitor.Logs(r.PathValue("name"), q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Logs{Lines: notNil(lines)})
	return nil
}

// followLogs replies with a line of JSON for each line of the log, until the client
// goes away, the function does, or the server stops.
func (h handlers) followLogs(w http.ResponseWriter, r *http.Request, q thaw.LogQuery) error {
	name := r.PathValue("name")
	if _, err := h.Catalog.Describe(r.Context(), name); err != nil {
		return err
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	out := &progress{w: w, conn: http.NewResponseController(w)}
	out.begin()
	err := h.Monitor.FollowLogs(ctx, name, q, func(line thaw.LogLine) error {
		out.line(api.FollowLine{LogLine: &line})
		return nil // a client that is gone ends ctx
	})
	if err != nil {
		return h.failLate(r, out, err)
	}
	return nil
}

func parseFollow(value string) (bool, error) {
	if value == "" {
		return false, nil
	}
	follow, err := strconv.ParseBool(value)
	if err != nil {
		return false, thaw.Errorf(thaw.CodeInvalid, "follow %s is not valid: write true or false", printable(value))
	}
	return follow, nil
}

// parseLimit allows none only to those who follow.
func parseLimit(value string, follow bool) (int, error) {
	if value == "" {
		return api.DefaultLogLines, nil
	}
	least := 1
	if follow {
		least = 0
	}
	limit, err := strconv.Atoi(value)
	if err != nil || limit < least || limit > api.MaxLogLines {
		return 0, thaw.Errorf(thaw.CodeInvalid, "limit %s is not valid: choose a number from %d to %d", printable(value), least, api.MaxLogLines)
	}
	return limit, nil
}

// The values of X-Amz-Log-Type.
const (
	logNone = "None"
	logTail = "Tail"
)

// wantsLog says whether the reply is to carry the end of the log.
func wantsLog(r *http.Request) (bool, error) {
	t := r.Header.Get(api.HeaderLogType)
	if !slices.Contains([]string{"", logNone, logTail}, t) {
		return false, thaw.Errorf(thaw.CodeInvalid, "%s %s is not supported: use %s or %s", api.HeaderLogType, printable(t), logNone, logTail)
	}
	return t == logTail, nil
}

// logResult is what the function wrote between the lines that Lambda puts around it:
// the last 4 KiB of that, in base64.
func logResult(reply thaw.Reply) string {
	log := fmt.Sprintf("START RequestId: %s Version: %d\n%sEND RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms",
		reply.ID, reply.Version, reply.LogTail, reply.ID, reply.ID, reply.PhasesMS[thaw.PhaseInvoke])
	switch took := reply.DurationMS - reply.PhasesMS[thaw.PhaseInvoke]; reply.Start {
	case thaw.StartCold:
		log += fmt.Sprintf("\tRestore Duration: %.2f ms", took)
	case thaw.StartBoot:
		log += fmt.Sprintf("\tInit Duration: %.2f ms", took)
	}
	log += "\n"
	return base64.StdEncoding.EncodeToString([]byte(log[max(0, len(log)-thaw.MaxLogTail):]))
}
