// Command bootstrap is a function in Go for the runtime "provided". It speaks
// the AWS Lambda Runtime API with nothing but net/http: ask for an invocation,
// answer it, ask again.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

// event is what this function is invoked with.
type event struct {
	Name string `json:"name"`
}

// handle is the function itself.
func handle(payload []byte) (any, error) {
	e := event{Name: "world"}
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return map[string]string{"message": "Hello, " + e.Name + "!"}, nil
}

func main() {
	err := serve("http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/")
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// serve answers invocations until the API fails, which ends the program.
func serve(api string) error {
	for {
		id, payload, err := next(api)
		if err != nil {
			return err
		}
		if err := answer(api+id, payload); err != nil {
			return err
		}
	}
}

// next waits for an invocation.
func next(api string) (id string, payload []byte, err error) {
	resp, err := http.Get(api + "next")
	if err != nil {
		return "", nil, fmt.Errorf("ask for an invocation: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("ask for an invocation: %s", resp.Status)
	}
	payload, err = io.ReadAll(resp.Body)
	return resp.Header.Get("Lambda-Runtime-Aws-Request-Id"), payload, err
}

// answer runs the function and posts its result or its error.
func answer(url string, payload []byte) error {
	result, err := handle(payload)
	if err != nil {
		return post(url+"/error", map[string]string{"errorType": "Function.Error", "errorMessage": err.Error()})
	}
	return post(url+"/response", result)
}

func post(url string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("post answer: %s", resp.Status)
	}
	return nil
}
