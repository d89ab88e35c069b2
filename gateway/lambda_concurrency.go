package gateway

import (
	"context"
	"net/http"

	"thaw"
	"thaw/gateway/lambda"
)

// getConcurrency tells of a deploy under way as if it had worked, as the configuration
// does.
func (h handlers) getConcurrency(w http.ResponseWriter, r *http.Request) error {
	v, err := h.configured(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.ConcurrencyOf(v.Settings))
	return nil
}

func (h handlers) putConcurrency(w http.ResponseWriter, r *http.Request) error {
	var body lambda.PutFunctionConcurrency
	if err := readLambda(w, r, &body); err != nil {
		return err
	}
	v, err := h.updatable(r, "")
	if err != nil {
		return err
	}
	request, err := body.Request(v)
	if err != nil {
		return err
	}
	if err := h.redeploy(r.Context(), v, request); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.ConcurrencyOf(request.Settings))
	return nil
}

func (h handlers) deleteConcurrency(w http.ResponseWriter, r *http.Request) error {
	v, err := h.updatable(r, "")
	if err != nil {
		return err
	}
	if err := h.redeploy(r.Context(), v, lambda.Unreserve(v)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// redeploy begins a deploy of v's code with other settings, unless they are v's.
func (h handlers) redeploy(ctx context.Context, v thaw.Version, request thaw.PublishRequest) error {
	if lambda.Unchanged(v, request) {
		return nil
	}
	_, err := h.publish(ctx, request, nil, false)
	return err
}
