package gateway

import (
	"net/http"
	"strconv"

	"thaw/docs"
	"thaw/gateway/api"
)

func (h handlers) openAPIYAML(w http.ResponseWriter, _ *http.Request) error {
	writeDocument(w, api.TypeYAML, docs.OpenAPI)
	return nil
}

func (h handlers) openAPIJSON(w http.ResponseWriter, _ *http.Request) error {
	raw, err := docs.OpenAPIAsJSON()
	if err != nil {
		return err
	}
	writeDocument(w, api.TypeJSON, raw)
	return nil
}

func writeDocument(w http.ResponseWriter, kind string, raw []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	// A client that is gone is seen by the server itself.
	_, _ = w.Write(raw)
}
