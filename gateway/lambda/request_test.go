package lambda

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

func TestCreateFunction(t *testing.T) {
	archive := archiveOf(t, member{"app.py", 0o644, ""})
	zipped := base64.StdEncoding.EncodeToString(archive)
	var c CreateFunction
	err := Read([]byte(`{"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:hello", "Runtime": "python3.12", "Handler": "a.b", "Role": "arn:aws:iam::1:role/r",
		"Code": {"ZipFile": "`+zipped+`"}, "Timeout": 5, "MemorySize": 512, "Environment": {"Variables": {"A": "1"}}, "Description": "d", "Publish": true,
		"PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512}, "Tags": {"team": "x"}, "SnapStart": {"ApplyOn": "None"},
		"TracingConfig": {"Mode": "Active"}, "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}, "Layers": [], "KMSKeyArn": "", "DeadLetterConfig": {"TargetArn": ""}}`), &c)
	if err != nil {
		t.Fatal(err)
	}
	r, got, err := c.Request()
	if err != nil || string(got) != string(archive) {
		t.Fatal(err, len(got))
	}
	want := thaw.PublishRequest{Function: "hello", New: true, Settings: thaw.Settings{
		Runtime: thaw.RuntimePython, Handler: "a.b", MemoryBytes: 512 << 20, Timeout: 5 * time.Second, Env: map[string]string{"A": "1"}, Description: "d",
		Lambda: &thaw.LambdaInfo{Runtime: "python3.12", Role: "arn:aws:iam::1:role/r", CodeSHA256: Digest(archive), CodeBytes: int64(len(archive)), Tags: map[string]string{"team": "x"}},
	}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

func TestCreateFunctionRefuses(t *testing.T) {
	zipped := base64.StdEncoding.EncodeToString(archiveOf(t, member{"app.py", 0o644, ""}))
	for change, want := range map[string]string{
		`"FunctionName": ""`:                                     "name",
		`"FunctionName": "hello:1"`:                              "qualifier",
		`"PackageType": "Jar"`:                                   "PackageType",
		`"Runtime": "java21"`:                                    "java21",
		`"Runtime": null`:                                        "Runtime is missing",
		`"Code": {}`:                                             "as ZipFile",
		`"Code": {"S3Bucket": "b", "S3Key": "k"}`:                "S3",
		`"Code": {"ImageUri": "i"}`:                              "no image",
		`"Code": {"ZipFile": "!"}`:                               "cannot be read",
		`"Architectures": ["arm64"]`:                             "arm64",
		`"Timeout": 0`:                                           "Timeout of 0 s",
		`"Timeout": 901`:                                         "1 to 900",
		`"MemorySize": 64`:                                       "128 to 4096",
		`"MemorySize": 10240`:                                    "128 to 4096",
		`"EphemeralStorage": {"Size": 1024}`:                     "/tmp",
		`"Layers": ["arn:x"]`:                                    "Layers is not supported",
		`"VpcConfig": {"SubnetIds": ["s"]}`:                      "VpcConfig",
		`"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:x:y:z"}`: "DeadLetterConfig",
		`"Environment": {"Variables": {"AWS_LAMBDA_X": "1"}}`:    "reserved",
		`"Handler": "app"`:                                       "handler",
		`"Fancy": 1`:                                             "Fancy",
		`"Description": "` + strings.Repeat("x", 257) + `"`:      "257 bytes",
	} {
		fields := map[string]json.RawMessage{"FunctionName": []byte(`"hello"`), "Runtime": []byte(`"python3.11"`), "Handler": []byte(`"app.handler"`), "Code": []byte(`{"ZipFile": "` + zipped + `"}`)}
		if err := json.Unmarshal([]byte("{"+change+"}"), &fields); err != nil {
			t.Fatal(change, err)
		}
		raw, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		var c CreateFunction
		if err = Read(raw, &c); err == nil {
			_, _, err = c.Request()
		}
		if thaw.CodeOf(err) != thaw.CodeInvalid || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestUpdates(t *testing.T) {
	v := thaw.Version{Function: "hello", Number: 3, Settings: thaw.Settings{Env: map[string]string{"A": "1"}, Packages: []string{"python3-numpy"}}.WithDefaults()}
	archive := archiveOf(t, member{"app.py", 0o644, "x"})
	var code UpdateFunctionCode
	if err := Read([]byte(`{"ZipFile": "`+base64.StdEncoding.EncodeToString(archive)+`"}`), &code); err != nil {
		t.Fatal(err)
	}
	r, _, err := code.Request(v)
	if err != nil || r.From != "" || r.New || r.Settings.Lambda.CodeSHA256 != Digest(archive) || !cmp.Equal(r.Settings.Packages, v.Packages) {
		t.Errorf("%+v, %v", r, err)
	}
	if v.Lambda != nil {
		t.Error("the version was changed")
	}
	var settings UpdateFunctionConfiguration
	if err := Read([]byte(`{"MemorySize": 1024, "Environment": {"Variables": {}}}`), &settings); err != nil {
		t.Fatal(err)
	}
	r, err = settings.Request(v)
	if err != nil || r.From != "hello:3" || r.Settings.MemoryBytes != 1<<30 || len(r.Settings.Env) != 0 || !cmp.Equal(r.Settings.Packages, v.Packages) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = UpdateFunctionConfiguration{}.Request(v)
	if err != nil || !Unchanged(v, r) {
		t.Errorf("nothing changed, and %+v, %v", r, err)
	}
}

func TestImages(t *testing.T) {
	var c CreateFunction
	if err := Read([]byte(`{"FunctionName": "im", "PackageType": "Image", "Code": {"ImageUri": "host:5000/team/im:1"}, "ImageConfig": {"Command": ["a"]}}`), &c); err != nil {
		t.Fatal(err)
	}
	r, archive, err := c.Request()
	want := &thaw.ContainerImage{Reference: "host:5000/team/im:1", Command: []string{"a"}}
	if diff := cmp.Diff(want, r.Settings.Image); err != nil || archive != nil || r.Code == nil || r.Settings.Runtime != thaw.RuntimeProvided || diff != "" {
		t.Fatalf("%+v, %v, %s", r, err, diff)
	}
	v := thaw.Version{Function: "im", Number: 1, Settings: r.Settings, Container: &thaw.Container{Digest: "sha256:abc"}}
	conf := Configure(thaw.Ref{Function: "im"}, v)
	if got := Describe(conf, v).Code; conf.PackageType != "Image" || conf.Runtime != "" || conf.CodeSHA256 != "abc" || conf.ImageConfigResponse.ImageConfig.Command[0] != "a" || got.ResolvedImageURI != "host:5000/team/im@sha256:abc" {
		t.Errorf("%+v, %+v", conf, got)
	}
	u := UpdateFunctionCode{source: source{ImageURI: "host:5000/team/im:1"}}
	if r, _, err := u.Request(v); err != nil || Unchanged(v, r) || !cmp.Equal(r.Settings.Image, want) {
		t.Errorf("the same name, and %+v, %v", r, err)
	}
	for name, request := range map[string]func() error{
		"archive of an image": func() error {
			_, _, err := UpdateFunctionCode{source: source{ZipFile: []byte("x")}}.Request(v)
			return err
		},
		"image of an archive": func() error { _, _, err := u.Request(thaw.Version{Function: "zip"}); return err },
		"runtime of an image": func() error {
			_, err := UpdateFunctionConfiguration{configuration: configuration{Runtime: new("python3.12")}}.Request(v)
			return err
		},
		"image config": func() error {
			_, err := UpdateFunctionConfiguration{configuration: configuration{ImageConfig: &ImageConfig{}}}.Request(thaw.Version{Function: "zip"})
			return err
		},
	} {
		if err := request(); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfigure(t *testing.T) {
	v := thaw.Version{Function: "hello", Number: 3, Settings: thaw.Settings{Timeout: 1500 * time.Millisecond}.WithDefaults(), CodeBytes: 4096, Snapshot: "s", Created: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}
	c := Configure(thaw.Ref{Function: "hello"}, v)
	if c.Version != "$LATEST" || c.FunctionArn != "arn:aws:lambda:local:000000000000:function:hello" || c.Timeout != 2 || c.MemorySize != 256 || c.Runtime != "python3.11" ||
		c.LastModified != "2026-01-02T03:04:05.006+0000" || c.State != "Active" || c.LastUpdateStatus != "Successful" || c.SnapStart.OptimizationStatus != "On" || len(c.CodeSHA256) != 44 {
		t.Errorf("%+v", c)
	}
	if c = Configure(thaw.Ref{Function: "hello", Qualifier: "live"}, v); c.Version != "3" || !strings.HasSuffix(c.FunctionArn, ":hello:live") {
		t.Errorf("%+v", c)
	}
	first := thaw.Deployment{Version: v, First: true, Step: "boot"}
	if c := ConfigureDeployment(first); c.State != "Pending" || c.StateReasonCode != "Creating" || c.LastUpdateStatus == "InProgress" {
		t.Errorf("%+v", c)
	}
	first.Reason, first.ReasonCode = "no module", thaw.CodeFunction
	if c := ConfigureDeployment(first); c.State != "Failed" || c.StateReason != "no module" || c.StateReasonCode != "FunctionError" || c.LastUpdateStatus != "Failed" {
		t.Errorf("%+v", c)
	}
	second := thaw.Deployment{Version: v}
	if c := ConfigureDeployment(second); c.State != "Active" || c.LastUpdateStatus != "InProgress" {
		t.Errorf("%+v", c)
	}
	second.ReasonCode = thaw.CodeInstance
	if c := Configure(thaw.Ref{Function: "hello"}, v).Updated(second); c.State != "Active" || c.LastUpdateStatus != "Failed" || c.LastUpdateStatusReasonCode != "InternalError" {
		t.Errorf("%+v", c)
	}
}

func TestSetAlias(t *testing.T) {
	apply := func(body string, a thaw.Alias) (thaw.Alias, error) {
		var s SetAlias
		if err := Read([]byte(body), &s); err != nil {
			return a, err
		}
		return s.Apply(a)
	}
	a, err := apply(`{"FunctionVersion": "1", "Description": "d", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}`, thaw.Alias{Name: "live"})
	want := thaw.Alias{Name: "live", Version: 1, Description: "d", Weights: map[int]float64{2: 0.1}}
	if diff := cmp.Diff(want, a); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if told := TellAlias("hello", a); told.FunctionVersion != "1" || told.RoutingConfig.AdditionalVersionWeights["2"] != 0.1 || told.AliasArn != ARN(thaw.Ref{Function: "hello", Qualifier: "live"}) {
		t.Errorf("%+v", told)
	}
	if a, err = apply(`{"RoutingConfig": {"AdditionalVersionWeights": {}}}`, a); err != nil || a.Weights != nil || a.Version != 1 || a.Description != "d" {
		t.Errorf("%+v, %v", a, err)
	}
	for _, body := range []string{`{}`, `{"FunctionVersion": "$LATEST"}`, `{"FunctionVersion": "x"}`, `{"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"x": 1}}}`, `{"FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 2}}}`, `[]`} {
		if a, err := apply(body, thaw.Alias{Name: "live"}); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Errorf("%s: %+v, %v", body, a, err)
		}
	}
}

func TestPage(t *testing.T) {
	var all []string
	for i := range 120 {
		all = append(all, fmt.Sprintf("f%03d", i))
	}
	key := func(s string) string { return s }
	var got []string
	pages, marker := 0, ""
	for {
		some, next, err := Page(all, key, marker, "")
		if err != nil || len(some) > maxPage {
			t.Fatal(len(some), err)
		}
		got = append(got, some...)
		pages++
		if marker = next; next == "" {
			break
		}
	}
	if diff := cmp.Diff(all, got); pages != 3 || diff != "" {
		t.Error(pages, diff)
	}
	if some, next, err := Page(all, key, "", "7"); len(some) != 7 || next == "" || err != nil {
		t.Error(some, next, err)
	}
	for _, bad := range [][2]string{{"", "0"}, {"", "x"}, {"", "10001"}, {"!", ""}} {
		if _, _, err := Page(all, key, bad[0], bad[1]); thaw.CodeOf(err) != thaw.CodeInvalid {
			t.Error(bad, err)
		}
	}
}

// FuzzCreateFunction wants of any request an error that blames it, or settings that
// can be deployed.
func FuzzCreateFunction(f *testing.F) {
	f.Add([]byte(`{"FunctionName": "hello", "Runtime": "python3.12", "Handler": "a.b", "Code": {"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="}, "Timeout": 5}`))
	f.Add([]byte(`{"Layers": [], "VpcConfig": {"SubnetIds": [{}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c CreateFunction
		err := Read(raw, &c)
		var r thaw.PublishRequest
		if err == nil {
			r, _, err = c.Request()
		}
		if code := thaw.CodeOf(err); err != nil && code != thaw.CodeInvalid && code != thaw.CodeTooLarge {
			t.Fatalf("%s: %v", code, err)
		}
		if err == nil && (r.Settings.Validate() != nil || thaw.CheckName(r.Function) != nil) {
			t.Fatalf("%+v", r)
		}
	})
}
