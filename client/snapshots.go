package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"thaw"
	"thaw/gateway/api"
)

// Snapshots returns every snapshot, and what is in quarantine.
func (c *Client) Snapshots(ctx context.Context) ([]thaw.Snapshot, error) {
	var list api.Snapshots
	err := c.get(ctx, api.PathSnapshots, &list)
	return list.Snapshots, err
}

// DescribeSnapshot returns everything about a snapshot.
func (c *Client) DescribeSnapshot(ctx context.Context, id string) (thaw.Snapshot, error) {
	var s thaw.Snapshot
	err := c.get(ctx, snapshotPath(id), &s)
	return s, err
}

// RemoveSnapshot removes a snapshot that nothing needs.
func (c *Client) RemoveSnapshot(ctx context.Context, id string) error {
	return c.delete(ctx, snapshotPath(id))
}

// VerifySnapshot has every file of a snapshot compared with its checksum, which
// changes nothing. events, unless nil, is called for each file as it is reported,
// from the calling goroutine: without a status while the file is being read.
func (c *Client) VerifySnapshot(ctx context.Context, id string, events func(thaw.FileCheck)) (thaw.Verification, error) {
	reply, err := c.send(ctx, http.MethodPost, snapshotPath(id)+api.PathVerifySuffix, nil, nil)
	if err != nil {
		return thaw.Verification{}, err
	}
	defer reply.Body.Close()
	var result *thaw.Verification
	err = c.eachLine(ctx, reply.Body, func(text []byte) error {
		var line api.CheckLine
		if err := json.Unmarshal(text, &line); err != nil {
			return c.broken(err)
		}
		if line.Error != nil {
			return &thaw.Error{Code: line.Error.Code, Err: errors.New(line.Error.Message)}
		}
		if line.File != nil && events != nil {
			events(*line.File)
		}
		if line.Result != nil {
			result = line.Result
		}
		return nil
	})
	if err != nil {
		return thaw.Verification{}, err
	}
	if result == nil {
		return thaw.Verification{}, thaw.Errorf(thaw.CodeUnavailable, "the daemon ended the verification of its own accord: is it stopping? see its log")
	}
	return *result, nil
}

func snapshotPath(id string) string { return api.PathSnapshots + "/" + url.PathEscape(id) }
