package e2e

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"thaw"
)

// testSDKConcurrency bounds the function. Each change is a deploy, which is slow here: there is one.
func testSDKConcurrency(t *testing.T, s *site, a *sdkUser) {
	ctx, name := t.Context(), aws.String("greet")
	put := func(name string, n int32) (*lambda.PutFunctionConcurrencyOutput, error) {
		return a.c.PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String(name), ReservedConcurrentExecutions: aws.Int32(n)})
	}
	var missing *types.ResourceNotFoundException
	if _, err := put("none", 1); !errors.As(err, &missing) {
		t.Errorf("of no function: %v", err)
	}
	var invalid *types.InvalidParameterValueException
	for _, n := range []int32{0, thaw.MaxScale + 1} {
		if _, err := put("greet", n); !errors.As(err, &invalid) {
			t.Errorf("%d: %v", n, err)
		}
	}
	if _, err := a.c.PutProvisionedConcurrencyConfig(ctx, &lambda.PutProvisionedConcurrencyConfigInput{FunctionName: name, Qualifier: aws.String("1"), ProvisionedConcurrentExecutions: aws.Int32(1)}); err == nil || !strings.Contains(err.Error(), "NotSupportedException") {
		t.Errorf("provisioned concurrency: %v", err)
	}
	if _, err := a.c.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: aws.String("none")}); !errors.As(err, &missing) {
		t.Errorf("of no function: %v", err)
	}
	if _, err := a.c.DeleteFunctionConcurrency(ctx, &lambda.DeleteFunctionConcurrencyInput{FunctionName: name}); err != nil { // there is none: no deploy
		t.Errorf("of one without: %v", err)
	}
	if got, err := a.c.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: name}); err != nil || got.ReservedConcurrentExecutions != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if out, err := put("greet", 2); err != nil || aws.ToInt32(out.ReservedConcurrentExecutions) != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	a.updated(t)
	if v := s.describe(t, "greet").Version; v.MaxScale != 2 {
		t.Errorf("%+v", v)
	}
	if got, err := a.c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name}); err != nil || got.Concurrency == nil || aws.ToInt32(got.Concurrency.ReservedConcurrentExecutions) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := a.c.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: name}); err != nil || aws.ToInt32(got.ReservedConcurrentExecutions) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _ := a.invoke(t, lambda.InvokeInput{FunctionName: name}); got.Says != "bye " || got.Mode != "third" {
		t.Errorf("%+v", got)
	}
}
