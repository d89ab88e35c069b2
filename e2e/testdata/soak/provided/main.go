// Command bootstrap says what it was asked, once in the log and once in the reply.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		if err := serve(api); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func serve(api string) error {
	r, err := http.Get(api + "next")
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var event struct {
		Nonce string `json:"nonce"`
	}
	if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
		return err
	}
	fmt.Println("soak", event.Nonce)
	reply, err := json.Marshal(map[string]string{"nonce": event.Nonce, "function": os.Getenv("AWS_LAMBDA_FUNCTION_NAME")})
	if err != nil {
		return err
	}
	answer, err := http.Post(api+r.Header.Get("Lambda-Runtime-Aws-Request-Id")+"/response", "application/json", bytes.NewReader(reply))
	if err != nil {
		return err
	}
	return answer.Body.Close()
}
