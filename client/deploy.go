package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"

	"thaw"
	"thaw/gateway/api"
)

// maxLine bounds one line of a reply in bytes; the longest is an error with the
// last lines of a console.
const maxLine = 1 << 20

// Deploy makes a new version of the function called name from code, a tar
// stream such as [Pack] writes, and returns it when it serves. events, unless
// nil, is called for each step as it is reported, from the calling goroutine.
// Cancelling ctx abandons the deploy; the version before it goes on serving.
func (c *Client) Deploy(ctx context.Context, name string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	last, err := c.upload(ctx, functionPath(name), s, code, events)
	if err != nil {
		return thaw.Version{}, err
	}
	if last.Version == nil {
		return thaw.Version{}, errEnded()
	}
	return *last.Version, nil
}

// DeployDetached does the same, but returns when the daemon has the code, and how the
// deploy stands then.
func (c *Client) DeployDetached(ctx context.Context, name string, s thaw.Settings, code io.Reader) (thaw.Publish, error) {
	last, err := c.upload(ctx, functionPath(name)+"?detach=true", s, code, nil)
	if err != nil {
		return thaw.Publish{}, err
	}
	if last.Detached == nil {
		return thaw.Publish{}, errEnded()
	}
	return *last.Detached, nil
}

// Publishes returns the latest deploy of each function, by name.
func (c *Client) Publishes(ctx context.Context) ([]thaw.Publish, error) {
	var list api.Deploys
	err := c.get(ctx, api.PathDeploys, &list)
	return list.Deploys, err
}

func errEnded() error {
	return thaw.Errorf(thaw.CodeUnavailable, "the daemon ended the deploy of its own accord: is it stopping? see its log")
}

// upload sends a deploy and returns the line that carries its result.
func (c *Client) upload(ctx context.Context, path string, s thaw.Settings, code io.Reader, events func(thaw.DeployEvent)) (api.DeployLine, error) {
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	sent := make(chan error, 1)
	go func() {
		err := writeDeploy(form, s, code)
		w.CloseWithError(err) // always returns nil
		sent <- err
	}()
	last, err := c.deploy(ctx, path, form.FormDataContentType(), r, events)
	r.Close() // ends the writer, whatever the transport has read
	cause, ok := errors.AsType[*thaw.Error](<-sent)
	if err != nil && ok {
		return api.DeployLine{}, cause // such as a file that cannot be packed
	}
	return last, err
}

func (c *Client) deploy(ctx context.Context, path, kind string, body io.Reader, events func(thaw.DeployEvent)) (api.DeployLine, error) {
	reply, err := c.send(ctx, http.MethodPut, path, http.Header{"Content-Type": {kind}}, body)
	if err != nil {
		return api.DeployLine{}, err
	}
	defer reply.Body.Close()
	return c.follow(ctx, reply.Body, events)
}

// writeDeploy writes the two parts of a deploy.
func writeDeploy(form *multipart.Writer, s thaw.Settings, code io.Reader) error {
	part, err := form.CreateFormField(api.PartSettings)
	if err != nil {
		return err
	}
	settings := json.NewEncoder(part)
	settings.SetEscapeHTML(false) // a sample event must not grow
	if err := settings.Encode(s); err != nil {
		return err
	}
	part, err = form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {fmt.Sprintf(`form-data; name=%q; filename="code.tar"`, api.PartCode)},
		"Content-Type":        {api.TypeTar},
	})
	if err != nil {
		return err
	}
	if _, err := io.Copy(part, code); err != nil {
		return err
	}
	return form.Close()
}

// follow reads events until the line that carries the result, or an error.
func (c *Client) follow(ctx context.Context, body io.Reader, events func(thaw.DeployEvent)) (last api.DeployLine, err error) {
	err = c.eachLine(ctx, body, func(text []byte) error {
		var line api.DeployLine
		if err := json.Unmarshal(text, &line); err != nil {
			return c.broken(err)
		}
		if line.Error != nil {
			last = api.DeployLine{} // whatever came before
			return &thaw.Error{Code: line.Error.Code, Err: errors.New(line.Error.Message)}
		}
		if line.Version != nil || line.Detached != nil {
			last = line
		}
		if events != nil && line.Detached == nil {
			events(line.DeployEvent)
		}
		return nil
	})
	if last.Version != nil || last.Detached != nil {
		return last, nil
	}
	return last, err
}

// eachLine calls do with each line of a reply until one is an error.
func (c *Client) eachLine(ctx context.Context, body io.Reader, do func(line []byte) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := do(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return c.lost(ctx, err)
	}
	return nil
}
