package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) queue(w http.ResponseWriter, r *http.Request) error {
	f, err := filterOf(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Queue{Items: notNil(h.Queue.Items(f))})
	return nil
}

func (h handlers) queueItem(w http.ResponseWriter, r *http.Request) error {
	it, payload, err := h.Queue.Item(r.PathValue("item"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.QueueItem{QueueItem: it, Payload: asJSON(payload)})
	return nil
}

func (h handlers) redrive(w http.ResponseWriter, r *http.Request) error {
	return change(w, r, h.Queue.Redrive)
}

func (h handlers) purge(w http.ResponseWriter, r *http.Request) error {
	return change(w, r, h.Queue.Purge)
}

func change(w http.ResponseWriter, r *http.Request, do func(thaw.ItemFilter) (int, error)) error {
	f, err := filterOf(r)
	if err != nil {
		return err
	}
	n, err := do(f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Count{Items: n})
	return nil
}

// filterOf returns which items of the queue the path and the query choose.
func filterOf(r *http.Request) (f thaw.ItemFilter, err error) {
	f.ID = r.PathValue("item")
	if f.Function = r.URL.Query().Get("function"); f.Function != "" {
		if err := thaw.CheckName(f.Function); err != nil {
			return f, err
		}
	}
	f.State, err = thaw.ParseItemState(r.URL.Query().Get("state"))
	return f, err
}

// asJSON returns a payload as a JSON value: itself, or a string that holds it.
func asJSON(payload []byte) json.RawMessage {
	if len(payload) == 0 || isJSON(payload) {
		return payload
	}
	raw, err := json.Marshal(string(payload))
	if err != nil {
		panic(err) // a string always marshals
	}
	return raw
}

func (h handlers) schedules(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, api.Schedules{Schedules: notNil(h.Schedules.Schedules())})
	return nil
}

func (h handlers) setSchedule(w http.ResponseWriter, r *http.Request) error {
	s, err := readSchedule(w, r)
	if err != nil {
		return err
	}
	if _, err := h.Catalog.Describe(r.Context(), s.Ref().String()); err != nil {
		return err
	}
	if s, err = h.Schedules.SetSchedule(r.Context(), s); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s)
	return nil
}

// readSchedule reads what a client may say of a schedule.
func readSchedule(w http.ResponseWriter, r *http.Request) (thaw.Schedule, error) {
	s := thaw.Schedule{ID: r.PathValue("schedule")}
	raw, err := readBody(w, r)
	if err != nil {
		return s, err
	}
	var body struct {
		Function string          `json:"function"`
		Spec     string          `json:"spec"`
		Data     json.RawMessage `json:"data"`
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return s, thaw.Errorf(thaw.CodeInvalid, "the schedule cannot be read: %w: send function, spec and data", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || !isJSON(raw) {
		return s, thaw.Errorf(thaw.CodeInvalid, "something follows the schedule: send one JSON object in UTF-8")
	}
	if len(body.Data) == 0 {
		body.Data = []byte("{}")
	}
	ref, err := thaw.ParseRef(body.Function)
	s.Function, s.Qualifier, s.Spec, s.Data = ref.Function, ref.Qualifier, body.Spec, body.Data
	return s, err
}

func (h handlers) removeSchedule(w http.ResponseWriter, r *http.Request) error {
	if err := h.Schedules.RemoveSchedule(r.Context(), r.PathValue("schedule")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
