package probe

import (
	"bytes"
	cryptorand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// apiEnv is where the runtime API is, for every runtime.
const apiEnv = "AWS_LAMBDA_RUNTIME_API"

// IsBootstrap says that this program was started as the bootstrap of a function:
// by that name and with a runtime API. Then it is the probe for the runtime
// provided, and no second program has to be built for that.
func IsBootstrap() bool {
	return filepath.Base(os.Args[0]) == "bootstrap" && os.Getenv(apiEnv) != ""
}

// Serve is the function, until the runtime API fails.
func Serve() error {
	p, err := begin()
	if err != nil {
		return err
	}
	base := "http://" + os.Getenv(apiEnv) + "/2018-06-01/runtime/"
	if _, _, err := get(base + "restore/next"); err != nil {
		return err
	}
	p.after++
	if p.restored, err = now(); err != nil {
		return err
	}
	if _, err := cryptorand.Read(p.seed[:]); err != nil {
		return err
	}
	p.own = rand.New(rand.NewChaCha8(p.seed))
	for {
		id, payload, err := get(base + "invocation/next")
		if err != nil {
			return err
		}
		if err := p.answer(base+"invocation/"+id, payload); err != nil {
			return err
		}
	}
}

// answer runs the function on one event.
func (p *provided) answer(url string, payload []byte) error {
	var e Event
	err := json.Unmarshal(payload, &e)
	if err == nil && len(e.Token) != TokenLen {
		err = errors.New("the token has a wrong length")
	}
	var r Report
	if err == nil {
		r, err = p.handle(e)
	}
	if err != nil {
		return post(url+"/error", map[string]string{"errorType": "Probe.Error", "errorMessage": err.Error()})
	}
	return post(url+"/response", r)
}

func (p *provided) draw() (map[string]string, error) {
	device, err := os.Open("/dev/urandom")
	if err != nil {
		return nil, err
	}
	defer device.Close()
	var a, b [16]byte
	if _, err := io.ReadFull(device, a[:]); err != nil {
		return nil, err
	}
	if _, err := cryptorand.Read(b[:]); err != nil {
		return nil, err
	}
	drawn := map[string]string{"/dev/urandom": hex.EncodeToString(a[:]), "crypto/rand": hex.EncodeToString(b[:]), "crypto/rand.Text": cryptorand.Text()}
	if p.own != nil {
		drawn["math/rand/v2 seeded after the restore"] = fmt.Sprintf("%016x%016x", p.own.Uint64(), p.own.Uint64())
	}
	return drawn, nil
}

// inherited draws from the generator that the Go runtime seeds at the start of the
// program and nobody can seed again.
func inherited() map[string]string {
	return map[string]string{"math/rand/v2": fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())}
}

func get(url string) (id string, body []byte, err error) {
	resp, err := http.Get(url)
	if err != nil {
		return "", nil, fmt.Errorf("ask the runtime API: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("ask the runtime API: %s", resp.Status)
	}
	body, err = io.ReadAll(resp.Body)
	return resp.Header.Get("Lambda-Runtime-Aws-Request-Id"), body, err
}

func post(url string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("answer the runtime API: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("answer the runtime API: %s", resp.Status)
	}
	return nil
}

func environ() map[string]string {
	env := map[string]string{}
	for _, e := range os.Environ() {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	return env
}
