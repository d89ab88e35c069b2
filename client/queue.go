package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"thaw"
	"thaw/gateway/api"
)

// InvokeAsync has a function, NAME[:QUALIFIER], run later and returns the request
// id.
func (c *Client) InvokeAsync(ctx context.Context, function string, payload []byte) (id string, err error) {
	header := http.Header{"Content-Type": {api.TypeJSON}, api.HeaderInvocationType: {"Event"}}
	path := api.PathInvokePrefix + url.PathEscape(function) + api.PathInvokeSuffix
	reply, err := c.send(ctx, http.MethodPost, path, header, bytes.NewReader(payload))
	if err != nil {
		return "", err
	}
	return reply.Header.Get(api.HeaderRequestID), reply.Body.Close()
}

// Queue returns the items of the queue that f chooses by function and state.
func (c *Client) Queue(ctx context.Context, f thaw.ItemFilter) ([]thaw.QueueItem, error) {
	var list api.Queue
	err := c.get(ctx, api.PathQueue+filterQuery(f), &list)
	return list.Items, err
}

// QueueItem returns one item with its payload.
func (c *Client) QueueItem(ctx context.Context, id string) (api.QueueItem, error) {
	var it api.QueueItem
	err := c.get(ctx, itemPath(id), &it)
	return it, err
}

// Redrive has dead letters tried again, the one called f.ID or those of
// f.Function, and returns how many these are.
func (c *Client) Redrive(ctx context.Context, f thaw.ItemFilter) (int, error) {
	path := api.PathQueue + api.PathRedriveSuffix + filterQuery(thaw.ItemFilter{Function: f.Function})
	if f.ID != "" {
		path = itemPath(f.ID) + api.PathRedriveSuffix
	}
	return c.count(ctx, http.MethodPost, path)
}

// Purge removes items that do not run, the one called f.ID or those of f.Function
// and f.State, and returns how many these are.
func (c *Client) Purge(ctx context.Context, f thaw.ItemFilter) (int, error) {
	path := api.PathQueue + filterQuery(f)
	if f.ID != "" {
		path = itemPath(f.ID)
	}
	return c.count(ctx, http.MethodDelete, path)
}

func (c *Client) count(ctx context.Context, method, path string) (int, error) {
	var n api.Count
	err := c.exchange(ctx, method, path, nil, nil, &n)
	return n.Items, err
}

// Schedules returns every schedule, by id.
func (c *Client) Schedules(ctx context.Context) ([]thaw.Schedule, error) {
	var list api.Schedules
	err := c.get(ctx, api.PathSchedules, &list)
	return list.Schedules, err
}

// SetSchedule stores a schedule in place of one with its id. Of s it sends
// function with qualifier, spec and data.
func (c *Client) SetSchedule(ctx context.Context, s thaw.Schedule) (thaw.Schedule, error) {
	raw, err := json.Marshal(map[string]any{"function": s.Ref().String(), "spec": s.Spec, "data": s.Data})
	if err != nil {
		return s, thaw.Errorf(thaw.CodeInvalid, "encode the schedule: %w", err)
	}
	err = c.exchange(ctx, http.MethodPut, schedulePath(s.ID), http.Header{"Content-Type": {api.TypeJSON}}, bytes.NewReader(raw), &s)
	return s, err
}

// RemoveSchedule removes a schedule.
func (c *Client) RemoveSchedule(ctx context.Context, id string) error {
	return c.delete(ctx, schedulePath(id))
}

func filterQuery(f thaw.ItemFilter) string {
	query := url.Values{}
	if f.Function != "" {
		query.Set("function", f.Function)
	}
	if f.State != "" {
		query.Set("state", string(f.State))
	}
	if len(query) == 0 {
		return ""
	}
	return "?" + query.Encode()
}

func itemPath(id string) string     { return api.PathQueue + "/" + url.PathEscape(id) }
func schedulePath(id string) string { return api.PathSchedules + "/" + url.PathEscape(id) }
