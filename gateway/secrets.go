package gateway

import (
	"encoding/json"
	"net/http"

	"thaw"
	"thaw/gateway/api"
)

func (h handlers) secrets(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Secrets.Secrets(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Secrets{Secrets: notNil(all)})
	return nil
}

func (h handlers) setSecret(w http.ResponseWriter, r *http.Request) error {
	value, err := readBody(w, r)
	if err != nil {
		return err
	}
	s, err := h.Secrets.SetSecret(r.Context(), thaw.SecretValue{Name: r.PathValue("secret"), Value: value})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, s)
	return nil
}

func (h handlers) removeSecret(w http.ResponseWriter, r *http.Request) error {
	if err := h.Secrets.RemoveSecret(r.Context(), r.PathValue("secret")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// openFaaSSecret is a secret as OpenFaaS has it; in its lists there is no value. Its
// namespaces are ignored, there are none.
type openFaaSSecret struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	Value     string `json:"value,omitempty"`
	RawValue  []byte `json:"rawValue,omitempty"`
}

func (h handlers) openFaaSSecrets(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Secrets.Secrets(r.Context())
	if err != nil {
		return err
	}
	list := make([]openFaaSSecret, 0, len(all))
	for _, s := range all {
		list = append(list, openFaaSSecret{Name: s.Name})
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// openFaaSSetSecret makes or changes one; OpenFaaS tells the two apart by the method.
func (h handlers) openFaaSSetSecret(w http.ResponseWriter, r *http.Request) error {
	s, err := readOpenFaaSSecret(w, r)
	if err != nil {
		return err
	}
	value := thaw.Sensitive(s.RawValue)
	if len(value) == 0 {
		value = thaw.Sensitive(s.Value)
	}
	if _, err := h.Secrets.SetSecret(r.Context(), thaw.SecretValue{Name: s.Name, Value: value}); err != nil {
		return err
	}
	status := http.StatusOK
	if r.Method == http.MethodPost {
		status = http.StatusCreated
	}
	w.WriteHeader(status)
	return nil
}

func (h handlers) openFaaSRemoveSecret(w http.ResponseWriter, r *http.Request) error {
	s, err := readOpenFaaSSecret(w, r)
	if err != nil {
		return err
	}
	if err := h.Secrets.RemoveSecret(r.Context(), s.Name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// readOpenFaaSSecret reads the body. What is wrong with it is not repeated: it may hold
// the value.
func readOpenFaaSSecret(w http.ResponseWriter, r *http.Request) (s openFaaSSecret, err error) {
	body, err := readBody(w, r)
	if err != nil {
		return s, err
	}
	if json.Unmarshal(body, &s) != nil {
		return s, thaw.Errorf(thaw.CodeInvalid, "the secret cannot be read: send name and value as a JSON object of strings")
	}
	return s, thaw.CheckSecretName(s.Name)
}
