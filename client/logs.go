package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"thaw"
	"thaw/gateway/api"
)

// Logs returns what q asks for of a function's log, newest last; limit 0 is the
// daemon's default.
func (c *Client) Logs(ctx context.Context, name string, q thaw.LogQuery) ([]thaw.LogLine, error) {
	values := logValues(q)
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	var logs api.Logs
	err := c.get(ctx, logsPath(name, values), &logs)
	return logs.Lines, err
}

// FollowLogs gives emit what q asks for of a function's log and then each line as it
// is written, from the calling goroutine. It ends with ctx, when the function is
// removed, and when emit fails, whose error it returns; limit 0 is only what is new.
func (c *Client) FollowLogs(ctx context.Context, name string, q thaw.LogQuery, emit func(thaw.LogLine) error) error {
	values := logValues(q)
	values.Set("follow", "true")
	values.Set("limit", strconv.Itoa(q.Limit))
	reply, err := c.send(ctx, http.MethodGet, logsPath(name, values), nil, nil)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	return c.eachLine(ctx, reply.Body, func(text []byte) error {
		var line api.FollowLine
		if err := json.Unmarshal(text, &line); err != nil {
			return c.broken(err)
		}
		if line.Error != nil {
			return &thaw.Error{Code: line.Error.Code, Err: errors.New(line.Error.Message)}
		}
		if line.LogLine == nil {
			return nil
		}
		return emit(*line.LogLine)
	})
}

func logValues(q thaw.LogQuery) url.Values {
	values := url.Values{}
	if q.RequestID != "" {
		values.Set("request", q.RequestID)
	}
	if !q.Since.IsZero() {
		values.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return values
}

func logsPath(name string, values url.Values) string {
	path := functionPath(name) + api.PathLogsSuffix
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	return path
}
