package gateway

import (
	"net/http"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) snapshots(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Snapshots.Snapshots(r.Context())
	if err != nil {
		return err
	}
	for i := range all {
		all[i].Files = notNil(all[i].Files)
	}
	writeJSON(w, http.StatusOK, api.Snapshots{Snapshots: notNil(all)})
	return nil
}

func (h handlers) snapshot(w http.ResponseWriter, r *http.Request) error {
	s, err := h.Snapshots.DescribeSnapshot(r.Context(), r.PathValue("snapshot"))
	if err != nil {
		return err
	}
	s.Files = notNil(s.Files)
	writeJSON(w, http.StatusOK, s)
	return nil
}

func (h handlers) removeSnapshot(w http.ResponseWriter, r *http.Request) error {
	if err := h.Snapshots.RemoveSnapshot(r.Context(), r.PathValue("snapshot")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// verifySnapshot replies with a line for each file as it is checked. A client that
// goes away ends it.
func (h handlers) verifySnapshot(w http.ResponseWriter, r *http.Request) error {
	out := &progress{w: w, conn: http.NewResponseController(w)}
	v, err := h.Verifier.VerifySnapshot(r.Context(), r.PathValue("snapshot"), func(f thaw.FileCheck) {
		out.line(api.CheckLine{File: &f})
	})
	if err != nil {
		return h.failLate(r, out, err)
	}
	v.Files = notNil(v.Files)
	out.line(api.CheckLine{Result: &v})
	return nil
}
