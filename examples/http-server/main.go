// Command http-server is a function for the runtime http: a web server on $PORT.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", hello)
	mux.HandleFunc("GET /events", events)
	mux.HandleFunc("PUT /upload", upload)
	if err := http.ListenAndServe(net.JoinHostPort("127.0.0.1", os.Getenv("PORT")), mux); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// hello is also what `thaw invoke web -d ...` comes to: a POST to /.
func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Hello from %s!\n", os.Getenv("K_REVISION"))
}

// events sends server-sent events, ten a second, each as it happens.
func events(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil {
		http.Error(w, "say how many with ?n=", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	for i := range n {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, time.Now().Format(time.RFC3339Nano))
		if out.Flush() != nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done(): // the client has gone
			return
		}
	}
}

// upload reads a body of any length as it comes.
func upload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%d bytes, sha256 %x\n", n, sum.Sum(nil))
}
