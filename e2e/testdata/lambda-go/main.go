// The program is an unmodified function for AWS Lambda, as its documentation has it:
// it knows nothing of thaw.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do string `json:"do"`
}

type about struct {
	Request, ARN, Function, Version, Trace string
	Memory                                 int
	LeftMS                                 int64
}

// badInput is an error with a type of its own.
type badInput struct{ What string }

func (e badInput) Error() string { return "bad input: " + e.What }

func handle(ctx context.Context, e event) (any, error) {
	switch e.Do {
	case "about":
		return tell(ctx)
	case "error":
		return nil, badInput{"nothing"}
	case "panic":
		var none map[string]int
		none["x"] = 1
	case "wait":
		<-ctx.Done() // before the function is ended, as the deadline is its own
		time.Sleep(time.Minute)
	case "stream":
		return stream(), nil
	}
	return "did " + e.Do, nil
}

func tell(ctx context.Context) (about, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, ok := ctx.Deadline()
	if !ok {
		return about{}, fmt.Errorf("the context has no deadline")
	}
	return about{
		lc.AwsRequestID, lc.InvokedFunctionArn, lambdacontext.FunctionName, lambdacontext.FunctionVersion, os.Getenv("_X_AMZN_TRACE_ID"),
		lambdacontext.MemoryLimitInMB, time.Until(deadline).Milliseconds(),
	}, nil
}

// stream writes a reply piece by piece, its length unknown.
func stream() io.Reader {
	r, w := io.Pipe()
	go func() {
		for i := range 5 {
			fmt.Fprintf(w, "piece %d, %s\n", i, strings.Repeat("x", 10_000))
		}
		w.Close()
	}()
	return r
}

func main() { lambda.Start(handle) }
