package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"thaw"
	"thaw/gateway/api"
)

// Versions returns the versions of a function, newest first.
func (c *Client) Versions(ctx context.Context, name string) ([]thaw.VersionInfo, error) {
	var list api.Versions
	err := c.get(ctx, functionPath(name)+api.PathVersionsSuffix, &list)
	return list.Versions, err
}

// Rollback makes a version of a function the one that serves, with 0 the one that
// did before, and returns it.
func (c *Client) Rollback(ctx context.Context, name string, number int) (thaw.Version, error) {
	path := functionPath(name) + api.PathRollbackSuffix
	if number != 0 {
		path += "?version=" + strconv.Itoa(number)
	}
	var v thaw.Version
	err := c.exchange(ctx, http.MethodPost, path, nil, nil, &v)
	return v, err
}

// Aliases returns the aliases of a function, by name.
func (c *Client) Aliases(ctx context.Context, name string) ([]thaw.Alias, error) {
	var list api.Aliases
	err := c.get(ctx, functionPath(name)+api.PathAliasesSuffix, &list)
	return list.Aliases, err
}

// SetAlias makes an alias of a function, or moves it.
func (c *Client) SetAlias(ctx context.Context, name string, a thaw.Alias) error {
	if err := a.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(api.Alias{Version: a.Version, Weights: a.Weights})
	if err != nil {
		return thaw.Errorf(thaw.CodeInvalid, "encode alias %s: %w", a.Name, err)
	}
	var set thaw.Alias
	return c.exchange(ctx, http.MethodPut, aliasPath(name, a.Name), http.Header{"Content-Type": {api.TypeJSON}}, bytes.NewReader(body), &set)
}

// RemoveAlias removes an alias of a function; its versions stay.
func (c *Client) RemoveAlias(ctx context.Context, name, alias string) error {
	return c.delete(ctx, aliasPath(name, alias))
}

func aliasPath(name, alias string) string {
	return functionPath(name) + api.PathAliasesSuffix + "/" + url.PathEscape(alias)
}
