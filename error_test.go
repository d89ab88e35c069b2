package thaw_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"testing"

	"thaw"
)

func TestErrorf(t *testing.T) {
	err := thaw.Errorf(thaw.CodeConflict, "open %q: %w", "x", fs.ErrNotExist)
	if got, want := err.Error(), `open "x": file does not exist`; got != want {
		t.Errorf("text is %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause cannot be reached")
	}
	e, ok := errors.AsType[*thaw.Error](fmt.Errorf("outside: %w", err))
	if !ok || e.Code != thaw.CodeConflict {
		t.Errorf("the error cannot be reached through a wrapper: %+v", e)
	}
}

func TestCodeOf(t *testing.T) {
	inner := thaw.Errorf(thaw.CodeNotFound, "inner")
	for name, c := range map[string]struct {
		err  error
		want thaw.Code
	}{
		"Nil":         {nil, ""},
		"Plain":       {errors.New("x"), thaw.CodeInternal},
		"Context":     {context.Canceled, thaw.CodeInternal},
		"Itself":      {inner, thaw.CodeNotFound},
		"Wrapped":     {fmt.Errorf("a: %w", fmt.Errorf("b: %w", inner)), thaw.CodeNotFound},
		"OuterWins":   {thaw.Errorf(thaw.CodeInvalid, "outer: %w", inner), thaw.CodeInvalid},
		"Joined":      {errors.Join(errors.New("x"), inner), thaw.CodeNotFound},
		"TextOnly":    {errors.New(inner.Error()), thaw.CodeInternal},
		"PlainInside": {thaw.Errorf(thaw.CodeThrottled, "a: %w", errors.New("x")), thaw.CodeThrottled},
	} {
		t.Run(name, func(t *testing.T) {
			if got := thaw.CodeOf(c.err); got != c.want {
				t.Errorf("CodeOf = %q, want %q", got, c.want)
			}
		})
	}
}

func TestFunctionErrorShapes(t *testing.T) {
	for text, want := range map[string]thaw.FunctionError{
		`{"errorType": "E", "errorMessage": "m", "requestId": "r", "stackTrace": ["a", "b"]}`: {Type: "E", Message: "m", Trace: []string{"a", "b"}},
		`{"errorType": "E", "errorMessage": "m", "trace": ["a"]}`:                             {Type: "E", Message: "m", Trace: []string{"a"}},
		`{"errorType": "E", "stackTrace": [{"path": "p", "line": 1}]}`:                        {Type: "E", Trace: []string{`{"path": "p", "line": 1}`}},
		`{"errorType": "E", "stackTrace": "text", "trace": null}`:                             {Type: "E"},
		`{}`: {},
	} {
		var got thaw.FunctionError
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"errorType": 1}`), new(thaw.FunctionError)); err == nil {
		t.Error("a type that is a number is taken")
	}
}
