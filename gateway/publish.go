package gateway

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"thaw"
	"thaw/gateway/api"
)

// Journal knows how deploys went.
type Journal interface {
	// Publishes returns the latest deploy of each function, by name.
	Publishes(ctx context.Context) ([]thaw.Publish, error)
}

func (h handlers) publishes(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Journal.Publishes(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Deploys{Deploys: notNil(all)})
	return nil
}

// wantsDetach reads the query of a deploy.
func wantsDetach(r *http.Request) (bool, error) {
	text := r.URL.Query().Get("detach")
	if text == "" {
		return false, nil
	}
	detach, err := strconv.ParseBool(text)
	if err != nil {
		return false, thaw.Errorf(thaw.CodeInvalid, "query parameter detach is %s: write true or false", printable(text))
	}
	return detach, nil
}

// deployWith has the engine make a version, or begin to, and writes the last line.
func (h handlers) deployWith(r *http.Request, detach bool, s thaw.Settings, code io.Reader, out *progress) error {
	if !detach {
		version, err := h.Deployer.Deploy(r.Context(), r.PathValue("name"), s, code, out.event)
		if err == nil {
			out.finish(version)
		}
		return err
	}
	d, err := h.Publisher.Publish(r.Context(), thaw.PublishRequest{Function: r.PathValue("name"), Settings: s, Code: code})
	if err == nil {
		out.line(api.DeployLine{Detached: &thaw.Publish{
			Function: d.Function, Number: d.Number, State: thaw.PublishRunning, Step: d.Step, Began: d.Began, Detached: true,
		}})
	}
	return err
}
