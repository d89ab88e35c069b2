package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

// httpFlags are those of invoke that make it a request to an HTTP server.
type httpFlags struct {
	path, method string
	headers      []string
}

func (f *httpFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.path, "path", "", "send a request to a function that is an HTTP server: its `path`, with the query")
	flags.StringVarP(&f.method, "method", "X", "", "`method` of that request (default GET, or POST with a body)")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header of that request as `'Name: value'`, may be repeated")
	for _, name := range []string{"path", "method", "header"} {
		cmd.MarkFlagsMutuallyExclusive("async", name)
	}
}

// given says that a request is meant, not an invocation.
func (f httpFlags) given(cmd *cobra.Command) bool {
	flags := cmd.Flags()
	return flags.Changed("path") || flags.Changed("method") || flags.Changed("header")
}

// header returns the headers as they are sent.
func (f httpFlags) header() (http.Header, error) {
	header := http.Header{}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" || strings.ContainsAny(h, "\r\n") {
			return nil, thaw.Errorf(thaw.CodeInvalid, "header %q is not valid: write it as 'Name: value'", h)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// body returns what -d, -f or - gives, nil for nothing. The caller closes it.
func (f invokeFlags) body(stdin io.Reader, cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	switch {
	case cmd.Flags().Changed("data"):
		return io.NopCloser(bytes.NewReader([]byte(f.data))), nil
	case cmd.Flags().Changed("file"):
		file, err := os.Open(f.file)
		if err != nil {
			return nil, thaw.Errorf(thaw.CodeInvalid, "read the body: %w", err)
		}
		return file, nil
	case len(args) > 0:
		return io.NopCloser(stdin), nil
	}
	return nil, nil
}

// exchange sends a request to a function that is an HTTP server and prints the body of
// the reply as it comes. A status that tells of a failure is one.
func (a *app) exchange(cmd *cobra.Command, f invokeFlags, args []string) error {
	request, err := f.target(args)
	if err != nil {
		return err
	}
	header, err := f.http.header()
	if err != nil {
		return err
	}
	body, err := f.body(a.stdin, cmd, args[1:])
	if err != nil {
		return err
	}
	method := f.http.method
	if method == "" {
		method = http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
	}
	if body == nil {
		body = http.NoBody
	}
	defer body.Close()
	return a.withClient(func(c *client.Client) error {
		reply, err := c.Exchange(cmd.Context(), request, method, "/"+strings.TrimPrefix(f.http.path, "/"), header, body)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		return a.printExchange(reply)
	})
}

func (a *app) printExchange(reply *http.Response) error {
	if _, err := io.Copy(a.stdout, reply.Body); err != nil {
		return thaw.Errorf(thaw.CodeFunction, "the reply broke off: %w", err)
	}
	if reply.StatusCode >= 400 {
		return thaw.Errorf(thaw.CodeFunction, "the reply has the status %s", reply.Status)
	}
	if isTerminal(a.stdout) {
		fmt.Fprintln(a.stderr, reply.Status)
	}
	return nil
}
