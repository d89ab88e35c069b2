package gateway

import (
	"context"
	"net/http"
	"strconv"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) functions(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	q := thaw.FunctionQuery{Prefix: query.Get("prefix"), After: query.Get("after")}
	if value := query.Get("limit"); value != "" {
		var err error
		if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 {
			return thaw.Errorf(thaw.CodeInvalid, "limit %s is not valid: choose a number from 1", printable(value))
		}
	}
	some, more, err := h.Finder.Page(r.Context(), q)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Functions{Functions: notNil(some), More: more})
	return nil
}

func (h handlers) describe(w http.ResponseWriter, r *http.Request) error {
	d, err := h.Catalog.Describe(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	d.Instances, d.Invocations = notNil(d.Instances), notNil(d.Invocations)
	writeJSON(w, http.StatusOK, d)
	return nil
}

func (h handlers) memory(w http.ResponseWriter, r *http.Request) error {
	policy, err := thaw.ParsePolicy(r.URL.Query().Get("policy"))
	if err != nil {
		return err
	}
	m, err := h.Catalog.Memory(r.Context(), r.PathValue("name"), policy)
	if err != nil {
		return err
	}
	m.Runs, m.Trace = notNil(m.Runs), notNil(m.Trace)
	writeJSON(w, http.StatusOK, m)
	return nil
}

func (h handlers) remove(w http.ResponseWriter, r *http.Request) error {
	if err := h.removeNamed(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// removeNamed removes NAME[:VERSION], and with the whole function its schedules,
// which would go on making dead letters.
func (h handlers) removeNamed(ctx context.Context, name string) error {
	if err := h.Catalog.Remove(ctx, name); err != nil || thaw.CheckName(name) != nil {
		return err
	}
	return h.Schedules.RemoveSchedulesOf(ctx, name)
}

func (h handlers) endIdle(w http.ResponseWriter, r *http.Request) error {
	if err := h.Monitor.EndIdle(r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h handlers) instances(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, api.Instances{Instances: notNil(h.Monitor.Instances())})
	return nil
}

func (h handlers) invocation(w http.ResponseWriter, r *http.Request) error {
	record, err := h.Invoker.Invocation(r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, record)
	return nil
}

func (h handlers) info(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, h.Info())
	return nil
}

func (h handlers) health(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

func (h handlers) metrics(w http.ResponseWriter, r *http.Request) error {
	h.Metrics.ServeHTTP(w, r)
	return nil
}

// notNil makes an empty list [] in JSON, which is what readers of lists expect.
func notNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
