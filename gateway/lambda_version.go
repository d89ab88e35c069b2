package gateway

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"thaw"
	"thaw/gateway/lambda"
)

// numbered returns the versions of a function by their numbers, oldest first.
func (h handlers) numbered(ctx context.Context, name string) ([]lambda.Configuration, error) {
	infos, err := h.Versions.Versions(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []lambda.Configuration
	for _, info := range slices.Backward(infos) {
		all = append(all, lambda.Configure(thaw.RefTo(name, info.Number), info.Version))
	}
	return all, nil
}

// listVersions begins with $LATEST, as Lambda does.
func (h handlers) listVersions(w http.ResponseWriter, r *http.Request) error {
	name, err := lambdaFunction(r)
	if err != nil {
		return err
	}
	newest, _, err := h.configurationOf(r.Context(), thaw.Ref{Function: name, Qualifier: thaw.Latest})
	if err != nil {
		return err
	}
	numbered, err := h.numbered(r.Context(), name)
	if err != nil && thaw.CodeOf(err) != thaw.CodeNotFound { // there is none while it is being created
		return err
	}
	query := r.URL.Query()
	all := append([]lambda.Configuration{newest}, numbered...)
	some, next, err := lambda.Page(all, func(c lambda.Configuration) string { return c.SortKey() }, query.Get("Marker"), query.Get("MaxItems"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.Versions{Versions: some, NextMarker: next})
	return nil
}

// publishVersion names the newest version by its number, which it has had since it was
// deployed: as in Lambda, it does so again when nothing has changed.
func (h handlers) publishVersion(w http.ResponseWriter, r *http.Request) error {
	var body lambda.PublishVersion
	if err := readLambda(w, r, &body); err != nil {
		return err
	}
	if _, err := h.updatable(r, ""); err != nil {
		return err
	}
	name, err := lambdaFunction(r)
	if err != nil {
		return err
	}
	v, err := h.Finder.Find(r.Context(), name+":"+thaw.Latest)
	if err != nil {
		return err
	}
	if err := checkRevision(body.RevisionID, lambda.RevisionOf(v)); err != nil {
		return err
	}
	if err := body.Check(v); err != nil {
		return err
	}
	if body.Description != nil && *body.Description != "" && *body.Description != v.Description {
		if err := h.Publisher.Annotate(r.Context(), name, v.Number, *body.Description); err != nil {
			return err
		}
		v.Description = *body.Description
	}
	writeJSON(w, http.StatusCreated, lambda.Configure(thaw.RefTo(name, v.Number), v))
	return nil
}

// aliasOf returns an alias of a function, or a [thaw.CodeNotFound] error.
func (h handlers) aliasOf(ctx context.Context, name, alias string) (thaw.Alias, error) {
	all, err := h.Versions.Aliases(ctx, name)
	if err != nil {
		return thaw.Alias{}, h.notYet(name, err)
	}
	i := slices.IndexFunc(all, func(a thaw.Alias) bool { return a.Name == alias })
	if i < 0 {
		return thaw.Alias{}, thaw.Errorf(thaw.CodeNotFound, "function %s has no alias %s", name, printable(alias))
	}
	return all[i], nil
}

func (h handlers) listAliases(w http.ResponseWriter, r *http.Request) error {
	name, err := lambdaFunction(r)
	if err != nil {
		return err
	}
	all, err := h.Versions.Aliases(r.Context(), name)
	if err != nil {
		return h.notYet(name, err)
	}
	query := r.URL.Query()
	if version := query.Get("FunctionVersion"); version != "" {
		all = slices.DeleteFunc(slices.Clone(all), func(a thaw.Alias) bool {
			return !slices.ContainsFunc(a.Versions(), func(n int) bool { return strconv.Itoa(n) == version })
		})
	}
	some, next, err := lambda.Page(all, func(a thaw.Alias) string { return a.Name }, query.Get("Marker"), query.Get("MaxItems"))
	if err != nil {
		return err
	}
	told := lambda.Aliases{Aliases: []lambda.Alias{}, NextMarker: next}
	for _, a := range some {
		told.Aliases = append(told.Aliases, lambda.TellAlias(name, a))
	}
	writeJSON(w, http.StatusOK, told)
	return nil
}

func (h handlers) getAlias(w http.ResponseWriter, r *http.Request) error {
	name, err := lambdaFunction(r)
	if err != nil {
		return err
	}
	a, err := h.aliasOf(r.Context(), name, r.PathValue("lambdaAlias"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, lambda.TellAlias(name, a))
	return nil
}

func (h handlers) createAlias(w http.ResponseWriter, r *http.Request) error {
	name, body, err := readSetAlias(w, r)
	if err != nil {
		return err
	}
	h.aliasing.Lock()
	defer h.aliasing.Unlock()
	if err := thaw.CheckAlias(body.Name); err != nil {
		return err
	}
	switch _, err := h.aliasOf(r.Context(), name, body.Name); {
	case err == nil:
		return thaw.Errorf(thaw.CodeConflict, "alias %s of function %s exists already: update it, or choose another name", body.Name, name)
	case thaw.CodeOf(err) != thaw.CodeNotFound:
		return err
	}
	return h.writeAlias(w, r, http.StatusCreated, name, body, thaw.Alias{Name: body.Name})
}

func readSetAlias(w http.ResponseWriter, r *http.Request) (name string, body lambda.SetAlias, err error) {
	if name, err = lambdaFunction(r); err != nil {
		return name, body, err
	}
	return name, body, readLambda(w, r, &body)
}

// writeAlias sets a as body has it. The caller holds aliasing.
func (h handlers) writeAlias(w http.ResponseWriter, r *http.Request, status int, name string, body lambda.SetAlias, a thaw.Alias) error {
	a, err := body.Apply(a)
	if err != nil {
		return err
	}
	if err := h.Versions.SetAlias(r.Context(), name, a); err != nil {
		return err
	}
	writeJSON(w, status, lambda.TellAlias(name, a))
	return nil
}

func (h handlers) updateAlias(w http.ResponseWriter, r *http.Request) error {
	name, body, err := readSetAlias(w, r)
	if err != nil {
		return err
	}
	h.aliasing.Lock()
	defer h.aliasing.Unlock()
	a, err := h.aliasOf(r.Context(), name, r.PathValue("lambdaAlias"))
	if err != nil {
		return err
	}
	if err := checkRevision(body.RevisionID, lambda.TellAlias(name, a).RevisionID); err != nil {
		return err
	}
	return h.writeAlias(w, r, http.StatusOK, name, body, a)
}

func (h handlers) deleteAlias(w http.ResponseWriter, r *http.Request) error {
	name, err := lambdaFunction(r)
	if err != nil {
		return err
	}
	err = h.Versions.RemoveAlias(r.Context(), name, r.PathValue("lambdaAlias"))
	if err != nil && thaw.CodeOf(err) != thaw.CodeNotFound { // as in Lambda, one that is not there is fine
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
