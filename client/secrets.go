package client

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"thaw"
	"thaw/gateway/api"
)

// Secrets describes every secret, by name.
func (c *Client) Secrets(ctx context.Context) ([]thaw.Secret, error) {
	var list api.Secrets
	err := c.get(ctx, api.PathSecrets, &list)
	return list.Secrets, err
}

// SetSecret stores a secret in place of one with its name.
func (c *Client) SetSecret(ctx context.Context, v thaw.SecretValue) (s thaw.Secret, err error) {
	err = c.exchange(ctx, http.MethodPut, secretPath(v.Name), nil, bytes.NewReader(v.Value), &s)
	return s, err
}

// RemoveSecret removes a secret, which no version may name.
func (c *Client) RemoveSecret(ctx context.Context, name string) error {
	return c.delete(ctx, secretPath(name))
}

func secretPath(name string) string { return api.PathSecrets + "/" + url.PathEscape(name) }
