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
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	sent := make(chan error, 1)
	go func() {
		err := writeDeploy(form, s, code)
		w.CloseWithError(err) // always returns nil
		sent <- err
	}()
	version, err := c.deploy(ctx, name, form.FormDataContentType(), r, events)
	r.Close() // ends the writer, whatever the transport has read
	cause, ok := errors.AsType[*thaw.Error](<-sent)
	if err != nil && ok {
		return thaw.Version{}, cause // such as a file that cannot be packed
	}
	return version, err
}

func (c *Client) deploy(ctx context.Context, name, kind string, body io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	reply, err := c.send(ctx, http.MethodPut, functionPath(name), http.Header{"Content-Type": {kind}}, body)
	if err != nil {
		return thaw.Version{}, err
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
	if err := json.NewEncoder(part).Encode(s); err != nil {
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

// follow reads events until the one that carries the version, or an error.
func (c *Client) follow(ctx context.Context, body io.Reader, events func(thaw.DeployEvent)) (thaw.Version, error) {
	var result *thaw.Version
	err := c.eachLine(ctx, body, func(text []byte) error {
		var line api.DeployLine
		if err := json.Unmarshal(text, &line); err != nil {
			return c.broken(err)
		}
		if line.Error != nil {
			result = nil // whatever came before
			return &thaw.Error{Code: line.Error.Code, Err: errors.New(line.Error.Message)}
		}
		if events != nil {
			events(line.DeployEvent)
		}
		if line.Version != nil {
			result = line.Version
		}
		return nil
	})
	if result != nil {
		return *result, nil
	}
	if err != nil {
		return thaw.Version{}, err
	}
	return thaw.Version{}, thaw.Errorf(thaw.CodeUnavailable, "the daemon ended the deploy of its own accord: is it stopping? see its log")
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
