package gateway

import "testing"

// TestLambdaConcurrency sets it, reads it and takes it back, each change by a deploy.
func TestLambdaConcurrency(t *testing.T) {
	const set, told = "/2017-10-31/functions/hello/concurrency", "/2019-09-30/functions/hello/concurrency"
	const hello = functionsURL + "/hello"
	k := newKeeper(t)
	url, _ := start(t, k)
	run := func(steps ...step) {
		t.Helper()
		for _, s := range steps {
			s.run(t, url)
		}
	}
	run(
		step{"GET", told, "", 404, "ResourceNotFoundException"},
		step{"PUT", set, `{"ReservedConcurrentExecutions": 3}`, 404, "ResourceNotFoundException"},
		step{"DELETE", set, "", 404, "ResourceNotFoundException"},
		step{"POST", functionsURL, `{"FunctionName": "hello", "Runtime": "python3.12", "Handler": "app.handler", "Code": {"ZipFile": "` + zipped(t, "app.py") + `"}}`, 201, `"State":"Pending"`},
		step{"PUT", set, `{"ReservedConcurrentExecutions": 3}`, 409, "ResourceConflictException"},
	)
	k.end(t, "")
	run(
		step{"GET", told, "", 200, "{}"},
		step{"DELETE", set, "", 204, ""}, // as it is
		step{"PUT", set, `{"ReservedConcurrentExecutions": 3}`, 200, `{"ReservedConcurrentExecutions":3}`},
		step{"GET", told, "", 200, `{"ReservedConcurrentExecutions":3}`},
		step{"GET", hello, "", 200, `"LastUpdateStatus":"InProgress"`},
		step{"PUT", set, `{"ReservedConcurrentExecutions": 4}`, 409, "ResourceConflictException"},
		step{"DELETE", set, "", 409, "ResourceConflictException"},
	)
	if len(k.files) != 0 {
		t.Errorf("the code was sent again: %v", k.files)
	}
	k.end(t, "")
	run(
		step{"PUT", set, `{"ReservedConcurrentExecutions": 3}`, 200, `{"ReservedConcurrentExecutions":3}`}, // as it is
		step{"GET", hello, "", 200, `"Concurrency":{"ReservedConcurrentExecutions":3}`},
		step{"GET", hello, "", 200, `"LastUpdateStatus":"Successful"`},
		step{"PUT", set, `{"ReservedConcurrentExecutions": 4}`, 200, `{"ReservedConcurrentExecutions":4}`},
	)
	k.end(t, "it exits")
	run(
		step{"GET", told, "", 200, `{"ReservedConcurrentExecutions":3}`},
		step{"DELETE", set, "", 204, ""},
		step{"GET", told, "", 200, "{}"},
	)
	k.end(t, "")
	for _, body := range []string{"{}", `{"ReservedConcurrentExecutions": 0}`, `{"ReservedConcurrentExecutions": -1}`, `{"ReservedConcurrentExecutions": 10001}`, `{"ReservedConcurrentExecutions": "1"}`, `{"Reserved": 1}`} {
		run(step{"PUT", set, body, 400, "InvalidParameterValueException"})
	}
	run(
		step{"GET", told, "", 200, "{}"},
		step{"GET", "/2019-09-30/functions/hello:1/concurrency", "", 400, "InvalidParameterValueException"},
		step{"PUT", "/2017-10-31/functions/hello:1/concurrency", `{"ReservedConcurrentExecutions": 3}`, 400, "InvalidParameterValueException"},
		step{"GET", hello + ":1", "", 200, `"LastUpdateStatus":"Successful"`},
		step{"GET", hello + ":2", "", 200, `"Concurrency":{"ReservedConcurrentExecutions":3}`},
	)
}
