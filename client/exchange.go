package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"thaw"
	"thaw/gateway/api"
)

// Exchange sends a request to a function that is an HTTP server, and returns the reply
// as it comes, of any status; the caller closes its body. path begins with / and may
// have a query. Of r it takes the name and how to start. An error tells of what kept
// the request from the daemon.
func (c *Client) Exchange(ctx context.Context, r thaw.InvokeRequest, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+api.PathOpenFaaS+"/"+url.PathEscape(r.Function)+path, body)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "make request: %w", err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	setControls(request.Header, r)
	reply, err := c.http.Do(request)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	return reply, nil
}
