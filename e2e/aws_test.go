package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"thaw"
)

// role is any: roles mean nothing here.
const role = "arn:aws:iam::123456789012:role/lambda"

// patience is how long a waiter of the SDK waits; it asks often. The first deploy on a
// new machine makes the root disk, which alone was seen to take 99 s.
const patience = 6 * time.Minute

// lambdaClient is the SDK with another endpoint, and no more than that.
func (s *site) lambdaClient() *lambda.Client {
	return lambda.New(lambda.Options{
		BaseEndpoint: aws.String(s.url), Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
	})
}

// zipOf makes a zip archive of files.
func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(fs.FileMode(0o644))
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// greeter is a function that says word, and what it knows of itself.
func greeter(t testing.TB, word string) []byte {
	return zipOf(t, map[string]string{"requirements.txt": "../as-others-left-it\n", "main.py": `import os

def handler(event, context):
    print("greeting", event.get("name"))
    if event.get("fail"):
        raise ValueError("no")
    custom = context.client_context.custom if context.client_context else None
    return {"says": "` + word + ` " + event.get("name", ""), "mode": os.environ.get("MODE"), "arn": context.invoked_function_arn, "custom": custom}
`})
}

// said is what it returns.
type said struct {
	Says, Mode string
	Custom     map[string]string
}

// TestSDK has the AWS SDK for Go do with a function all that there is to do.
func TestSDK(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	c := s.lambdaClient()
	a := &sdkUser{t: t, c: c}
	t.Run("Create", func(t *testing.T) { testSDKCreate(t, a) })
	t.Run("Invoke", func(t *testing.T) { testSDKInvoke(t, s, a) })
	t.Run("Update", func(t *testing.T) { testSDKUpdate(t, a) })
	t.Run("Aliases", func(t *testing.T) { testSDKAliases(t, s, a) })
	t.Run("Lists", func(t *testing.T) { testSDKLists(t, a) })
	t.Run("Concurrency", func(t *testing.T) { testSDKConcurrency(t, s, a) })
	t.Run("Failures", func(t *testing.T) { testSDKFailures(t, a) })
	t.Run("Delete", func(t *testing.T) { testSDKDelete(t, a) })
}

// sdkUser uses the function called greet.
type sdkUser struct {
	t *testing.T
	c *lambda.Client
}

func testSDKCreate(t *testing.T, a *sdkUser) {
	ctx := t.Context()
	in := &lambda.CreateFunctionInput{
		FunctionName: aws.String("greet"), Runtime: types.RuntimePython312, Handler: aws.String("main.handler"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: greeter(t, "hello")}, Timeout: aws.Int32(20), MemorySize: aws.Int32(256), Description: aws.String("greets"),
		Environment: &types.Environment{Variables: map[string]string{"MODE": "first"}}, Tags: map[string]string{"team": "a"},
	}
	out, err := a.c.CreateFunction(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if out.State != types.StatePending || out.StateReasonCode != types.StateReasonCodeCreating || aws.ToString(out.Role) != role || out.Runtime != types.RuntimePython312 {
		t.Errorf("%+v", out)
	}
	var conflict *types.ResourceConflictException
	if _, err := a.c.CreateFunction(ctx, in); !errors.As(err, &conflict) {
		t.Errorf("create again: %v", err)
	}
	if _, err := a.c.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("greet")}); !errors.As(err, &conflict) {
		t.Errorf("invoke what is pending: %v", err)
	}
	got, err := lambda.NewFunctionActiveV2Waiter(a.c).WaitForOutput(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("greet")}, patience)
	if err != nil {
		t.Fatal(err)
	}
	conf := got.Configuration
	if conf.State != types.StateActive || conf.LastUpdateStatus != types.LastUpdateStatusSuccessful || aws.ToString(conf.CodeSha256) != aws.ToString(out.CodeSha256) ||
		conf.SnapStart.OptimizationStatus != types.SnapStartOptimizationStatusOn || conf.Environment.Variables["MODE"] != "first" || got.Tags["team"] != "a" || aws.ToInt32(conf.Timeout) != 20 {
		t.Errorf("%+v", conf)
	}
}

func (a *sdkUser) invoke(t *testing.T, in lambda.InvokeInput) (said, *lambda.InvokeOutput) {
	t.Helper()
	out, err := a.c.Invoke(t.Context(), &in)
	if err != nil {
		t.Fatal(err)
	}
	if out.FunctionError != nil {
		return said{}, out
	}
	return decode[said](t, out.Payload), out
}

func testSDKInvoke(t *testing.T, s *site, a *sdkUser) {
	custom := base64.StdEncoding.EncodeToString([]byte(`{"custom": {"k": "v"}}`))
	got, out := a.invoke(t, lambda.InvokeInput{FunctionName: aws.String("greet"), Payload: []byte(`{"name": "Ada"}`), LogType: types.LogTypeTail, ClientContext: &custom})
	if got.Says != "hello Ada" || got.Mode != "first" || got.Custom["k"] != "v" || out.StatusCode != 200 || aws.ToString(out.ExecutedVersion) != "1" {
		t.Errorf("%+v, %+v", got, out)
	}
	if log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult)); err != nil || !strings.Contains(string(log), "greeting Ada\n") || !strings.Contains(string(log), "REPORT RequestId: ") {
		t.Errorf("%s, %v", log, err)
	}
	if _, out := a.invoke(t, lambda.InvokeInput{FunctionName: aws.String("greet"), Payload: []byte(`{"fail": true}`)}); aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), `"errorType":"ValueError"`) && !strings.Contains(string(out.Payload), `"errorType": "ValueError"`) {
		t.Errorf("%+v %s", out, out.Payload)
	}
	for kind, status := range map[types.InvocationType]int32{types.InvocationTypeDryRun: 204, types.InvocationTypeEvent: 202} {
		out, err := a.c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("arn:aws:lambda:eu-central-1:123456789012:function:greet:1"), InvocationType: kind, Payload: []byte(`{"name": "Bob"}`)})
		if err != nil || out.StatusCode != status {
			t.Errorf("%s: %+v, %v", kind, out, err)
		}
	}
	//lint:ignore SA1019 it is old, and there
	async, err := a.c.InvokeAsync(t.Context(), &lambda.InvokeAsyncInput{FunctionName: aws.String("greet"), InvokeArgs: strings.NewReader(`{"name": "Cid"}`)}) //nolint:staticcheck // it is old, and there
	if err != nil || async.Status != http.StatusAccepted {
		t.Errorf("%+v, %v", async, err)
	}
	eventually(t, "what was accepted", func() bool {
		lines, err := s.Logs(t.Context(), "greet", thaw.LogQuery{Limit: 100})
		text := ""
		for _, l := range lines {
			text += l.Text
		}
		return err == nil && strings.Contains(text, "greeting Bob") && strings.Contains(text, "greeting Cid")
	})
}

// updated waits until the function is.
func (a *sdkUser) updated(t *testing.T) *types.FunctionConfiguration {
	t.Helper()
	out, err := lambda.NewFunctionUpdatedV2Waiter(a.c).WaitForOutput(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("greet")}, patience)
	if err != nil {
		t.Fatal(err)
	}
	return out.Configuration
}

func testSDKUpdate(t *testing.T, a *sdkUser) {
	ctx, name := t.Context(), aws.String("greet")
	first, err := a.c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name, Description: aws.String("the first")})
	if err != nil || aws.ToString(first.Version) != "1" || aws.ToString(first.Description) != "the first" || !strings.HasSuffix(aws.ToString(first.FunctionArn), ":greet:1") {
		t.Fatalf("%+v, %v", first, err)
	}
	if dry, err := a.c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: greeter(t, "bye"), DryRun: true}); err != nil || dry.LastUpdateStatus != types.LastUpdateStatusSuccessful || aws.ToString(dry.CodeSha256) == aws.ToString(first.CodeSha256) {
		t.Errorf("%+v, %v", dry, err)
	}
	out, err := a.c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: greeter(t, "bye"), Publish: true})
	if err != nil || out.LastUpdateStatus != types.LastUpdateStatusInProgress || out.State != types.StateActive || aws.ToString(out.Version) != "2" {
		t.Fatalf("%+v, %v", out, err)
	}
	if got, _ := a.invoke(t, lambda.InvokeInput{FunctionName: name}); got.Says != "hello " {
		t.Errorf("meanwhile it says %s", got.Says)
	}
	var conflict *types.ResourceConflictException
	if _, err := a.c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, Timeout: aws.Int32(10)}); !errors.As(err, &conflict) {
		t.Errorf("update of what is being updated: %v", err)
	}
	conf := a.updated(t)
	if got, out := a.invoke(t, lambda.InvokeInput{FunctionName: name}); got.Says != "bye " || aws.ToString(out.ExecutedVersion) != "2" {
		t.Errorf("%+v by version %s", got, aws.ToString(out.ExecutedVersion))
	}
	var changed *types.PreconditionFailedException
	if _, err := a.c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, RevisionId: first.RevisionId}); !errors.As(err, &changed) {
		t.Errorf("update of another revision: %v", err)
	}
	if _, err := a.c.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: name, RevisionId: conf.RevisionId, Environment: &types.Environment{Variables: map[string]string{"MODE": "third"}},
	}); err != nil {
		t.Fatal(err)
	}
	if conf = a.updated(t); conf.Environment.Variables["MODE"] != "third" || aws.ToString(conf.CodeSha256) != aws.ToString(out.CodeSha256) {
		t.Errorf("%+v", conf)
	}
	if got, out := a.invoke(t, lambda.InvokeInput{FunctionName: name}); got.Says != "bye " || got.Mode != "third" || aws.ToString(out.ExecutedVersion) != "3" {
		t.Errorf("%+v", got)
	}
	for range 2 {
		if v, err := a.c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name, CodeSha256: conf.CodeSha256}); err != nil || aws.ToString(v.Version) != "3" {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func testSDKAliases(t *testing.T, s *site, a *sdkUser) {
	ctx, name, live := t.Context(), aws.String("greet"), aws.String("live")
	in := &lambda.CreateAliasInput{FunctionName: name, Name: live, FunctionVersion: aws.String("1"), Description: aws.String("d"), RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 1}}}
	made, err := a.c.CreateAlias(ctx, in)
	if err != nil || aws.ToString(made.FunctionVersion) != "1" || made.RoutingConfig.AdditionalVersionWeights["2"] != 1 {
		t.Fatalf("%+v, %v", made, err)
	}
	var conflict *types.ResourceConflictException
	if _, err := a.c.CreateAlias(ctx, in); !errors.As(err, &conflict) {
		t.Errorf("create again: %v", err)
	}
	if got, out := a.invoke(t, lambda.InvokeInput{FunctionName: name, Qualifier: live}); got.Says != "bye " || aws.ToString(out.ExecutedVersion) != "2" {
		t.Errorf("%+v", got)
	}
	made2, err := a.c.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: name, Name: live, RoutingConfig: &types.AliasRoutingConfiguration{}, RevisionId: made.RevisionId})
	if err != nil || made2.RoutingConfig != nil || aws.ToString(made2.FunctionVersion) != "1" || aws.ToString(made2.Description) != "d" {
		t.Fatalf("%+v, %v", made2, err)
	}
	if got, out := a.invoke(t, lambda.InvokeInput{FunctionName: made.AliasArn}); got.Says != "hello " || aws.ToString(out.ExecutedVersion) != "1" {
		t.Errorf("%+v", got)
	}
	if records := s.describe(t, "greet").Invocations; !slices.ContainsFunc(records, func(i thaw.Invocation) bool { return i.Version == 1 && i.Qualifier == "live" }) {
		t.Errorf("no record says what was asked for: %+v", records)
	}
	lines, err := s.Logs(t.Context(), "greet:1", thaw.LogQuery{Limit: 100})
	if err != nil || !slices.ContainsFunc(lines, func(l thaw.LogLine) bool { return l.Qualifier == "live" }) {
		t.Errorf("%+v, %v", lines, err)
	}
	if got, err := a.c.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: name, Name: live}); err != nil || aws.ToString(got.RevisionId) != aws.ToString(made2.RevisionId) {
		t.Errorf("%+v, %v", got, err)
	}
	var missing *types.ResourceNotFoundException
	if _, err := a.c.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: name, Name: aws.String("none")}); !errors.As(err, &missing) {
		t.Error(err)
	}
}

func testSDKLists(t *testing.T, a *sdkUser) {
	ctx, name := t.Context(), aws.String("greet")
	var versions []string
	for p := lambda.NewListVersionsByFunctionPaginator(a.c, &lambda.ListVersionsByFunctionInput{FunctionName: name, MaxItems: aws.Int32(1)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Versions {
			versions = append(versions, aws.ToString(v.Version))
		}
	}
	if strings.Join(versions, " ") != "$LATEST 1 2 3" {
		t.Error(versions)
	}
	functions := 0
	for p := lambda.NewListFunctionsPaginator(a.c, &lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll, MaxItems: aws.Int32(3)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		functions += len(page.Functions)
	}
	if functions != 4 {
		t.Errorf("%d versions of all functions", functions)
	}
	if list, err := a.c.ListAliases(ctx, &lambda.ListAliasesInput{FunctionName: name}); err != nil || len(list.Aliases) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if tags, err := a.c.ListTags(ctx, &lambda.ListTagsInput{Resource: aws.String("arn:aws:lambda:local:000000000000:function:greet")}); err != nil || tags.Tags["team"] != "a" {
		t.Errorf("%+v, %v", tags, err)
	}
	var missing *types.ResourceNotFoundException
	if _, err := a.c.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: name}); !errors.As(err, &missing) {
		t.Errorf("policy: %v", err)
	}
}

// testSDKFailures updates a function to one that does not start, and creates one.
func testSDKFailures(t *testing.T, a *sdkUser) {
	ctx, name := t.Context(), aws.String("greet")
	broken := zipOf(t, map[string]string{"main.py": "import nothing_of_that_name\n"})
	if _, err := a.c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: broken}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("broken"), Runtime: types.RuntimePython312, Handler: aws.String("main.handler"), Role: aws.String(role), Code: &types.FunctionCode{ZipFile: broken},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := lambda.NewFunctionUpdatedV2Waiter(a.c).WaitForOutput(ctx, &lambda.GetFunctionInput{FunctionName: name}, patience); err == nil {
		t.Error("the waiter saw an update")
	}
	conf, err := a.c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: name})
	if err != nil || conf.LastUpdateStatus != types.LastUpdateStatusFailed || conf.LastUpdateStatusReasonCode != types.LastUpdateStatusReasonCodeFunctionError || !strings.Contains(aws.ToString(conf.LastUpdateStatusReason), "nothing_of_that_name") {
		t.Errorf("%+v, %v", conf, err)
	}
	if got, _ := a.invoke(t, lambda.InvokeInput{FunctionName: name}); got.Says != "bye " {
		t.Errorf("after an update that failed it says %q", got.Says)
	}
	if _, err := lambda.NewFunctionActiveV2Waiter(a.c).WaitForOutput(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("broken")}, patience); err == nil {
		t.Error("the waiter saw a function")
	}
	got, err := a.c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("broken")})
	if err != nil || got.Configuration.State != types.StateFailed || got.Configuration.StateReasonCode != types.StateReasonCodeFunctionError {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := a.c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("broken")}); err != nil {
		t.Error(err)
	}
	var invalid *types.InvalidParameterValueException
	if _, err := a.c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: name, ZipFile: zipOf(t, map[string]string{"../main.py": ""})}); !errors.As(err, &invalid) {
		t.Errorf("an archive that goes up: %v", err)
	}
}

// TestSDKImage makes a function of an image.
func TestSDKImage(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	images, a := startRegistry(t), &sdkUser{t: t, c: s.lambdaClient()}
	images.push(t, "team/image:1", buildImage(t, v1.Config{Entrypoint: []string{"/function"}}, "amd64", programLayer(t)))
	host := images.host
	in := &lambda.CreateFunctionInput{
		FunctionName: aws.String("image"), PackageType: types.PackageTypeImage, Role: aws.String(role), Code: &types.FunctionCode{ImageUri: aws.String(host + "/team/none:1")},
	}
	if _, err := a.c.CreateFunction(t.Context(), in); err == nil {
		t.Error("a function was made of no image")
	}
	in.Code.ImageUri = aws.String(host + "/team/image:1")
	if _, err := a.c.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	got, err := lambda.NewFunctionActiveV2Waiter(a.c).WaitForOutput(t.Context(), &lambda.GetFunctionInput{FunctionName: in.FunctionName}, patience)
	if err != nil || got.Configuration.PackageType != types.PackageTypeImage || !strings.Contains(aws.ToString(got.Code.ResolvedImageUri), "/team/image@sha256:") {
		t.Fatalf("%+v, %v", got, err)
	}
	if out, err := a.c.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: in.FunctionName, Payload: []byte(`{"name": "Ada"}`)}); err != nil || out.FunctionError != nil {
		t.Errorf("%+v, %v", out, err)
	}
}

func testSDKDelete(t *testing.T, a *sdkUser) {
	ctx, name := t.Context(), aws.String("greet")
	var conflict *types.ResourceConflictException
	if _, err := a.c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name, Qualifier: aws.String("1")}); !errors.As(err, &conflict) {
		t.Errorf("delete of a version with an alias: %v", err)
	}
	if _, err := a.c.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: name, Name: aws.String("live")}); err != nil {
		t.Error(err)
	}
	eventually(t, "the removal of version 1", func() bool {
		_, err := a.c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name, Qualifier: aws.String("1")})
		return err == nil
	})
	if _, err := a.c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name}); err != nil {
		t.Fatal(err)
	}
	var missing *types.ResourceNotFoundException
	for what, err := range map[string]error{
		"get":    sdkError(a.c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name})),
		"invoke": sdkError(a.c.Invoke(ctx, &lambda.InvokeInput{FunctionName: name})),
		"delete": sdkError(a.c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name})),
	} {
		if !errors.As(err, &missing) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func sdkError[T any](_ T, err error) error { return err }
