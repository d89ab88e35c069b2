package client

import (
	"context"
	"errors"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"thaw/gateway/api"
)

// Metrics returns the daemon's metrics by name, in Prometheus's own form, which has
// histograms as fine as the daemon keeps them.
func (c *Client) Metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	accept := http.Header{"Accept": {string(expfmt.NewFormat(expfmt.TypeProtoDelim))}}
	reply, err := c.send(ctx, http.MethodGet, api.PathMetrics, accept, nil)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	families := map[string]*dto.MetricFamily{}
	decoder := expfmt.NewDecoder(io.LimitReader(reply.Body, maxReply), expfmt.ResponseFormat(reply.Header))
	for {
		var f dto.MetricFamily
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			return families, nil
		}
		if err != nil {
			return nil, c.broken(err)
		}
		families[f.GetName()] = &f
	}
}
