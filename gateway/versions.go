package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) versions(w http.ResponseWriter, r *http.Request) error {
	name, err := unqualified(r)
	if err != nil {
		return err
	}
	all, err := h.Versions.Versions(r.Context(), name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Versions{Versions: notNil(all)})
	return nil
}

// unqualified returns the name in the path of something that is about a function
// as a whole.
func unqualified(r *http.Request) (string, error) {
	name := r.PathValue("name")
	return name, thaw.CheckName(name)
}

func (h handlers) rollback(w http.ResponseWriter, r *http.Request) error {
	name, err := unqualified(r)
	if err != nil {
		return err
	}
	number := 0
	if q := r.URL.Query().Get("version"); q != "" {
		if number, err = thaw.ParseVersion(q); err != nil {
			return err
		}
	}
	v, err := h.Versions.Rollback(r.Context(), name, number)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (h handlers) aliases(w http.ResponseWriter, r *http.Request) error {
	name, err := unqualified(r)
	if err != nil {
		return err
	}
	all, err := h.Versions.Aliases(r.Context(), name)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Aliases{Aliases: notNil(all)})
	return nil
}

// setAlias answers 200 with the alias, whether it was there before or not.
func (h handlers) setAlias(w http.ResponseWriter, r *http.Request) error {
	body, err := readAlias(http.MaxBytesReader(w, r.Body, api.MaxAlias))
	if err != nil {
		return err
	}
	a := thaw.Alias{Name: r.PathValue("alias"), Version: body.Version, Weights: body.Weights, Description: body.Description}
	if err := a.Validate(); err != nil {
		return err
	}
	if err := h.Versions.SetAlias(r.Context(), r.PathValue("name"), a); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, a)
	return nil
}

func readAlias(r io.Reader) (a api.Alias, err error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		return a, thaw.Errorf(thaw.CodeInvalid, "the alias cannot be read (%w): send a JSON object such as {\"version\": 1, \"weights\": {\"2\": 0.1}}", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return a, thaw.Errorf(thaw.CodeInvalid, "something follows the alias: send one JSON object")
	}
	return a, nil
}

func (h handlers) removeAlias(w http.ResponseWriter, r *http.Request) error {
	if err := h.Versions.RemoveAlias(r.Context(), r.PathValue("name"), r.PathValue("alias")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
