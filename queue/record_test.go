package queue

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"thaw"
)

func sample() thaw.QueueItem {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return thaw.QueueItem{
		ID: "8e7b3c0a-0000-4000-8000-000000000000", Function: "f", Qualifier: "live", Kind: thaw.KindInvoke, Source: thaw.SourceLambda, State: thaw.ItemRunning,
		Accepted: at, Due: at, Expires: at, Bytes: 2, CallID: "c", Callback: "http://h", Failures: 1, Faults: 2,
		Trace: thaw.TraceContext{Parent: "p"}, Attempts: []thaw.Attempt{{Began: at, DurationMS: 1.5, Version: 3, Code: thaw.CodeFunction, Error: "e"}},
	}
}

func TestRecords(t *testing.T) {
	it := sample()
	record, err := encode(it)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeItem(it.ID, record)
	if diff := cmp.Diff(it, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for i := range record {
		bad := bytes.Clone(record)
		bad[i] ^= 4
		if _, err := decodeItem(it.ID, bad); err == nil {
			t.Errorf("byte %d flipped: no error", i)
		}
		if _, err := decodeItem(it.ID, record[:i]); err == nil {
			t.Errorf("cut after %d bytes: no error", i)
		}
	}
	if _, err := decodeItem("other", record); err == nil {
		t.Error("filed under another id: no error")
	}
	if _, err := open([]byte{2, 0, 0, 0, 0}); !errors.Is(err, errVersion) {
		t.Error(err)
	}
	// The format: these bytes must be readable for ever.
	if want := []byte{1, 0xe3, 0x06, 0x92, 0x83, '1', '2', '3', '4', '5', '6', '7', '8', '9'}; !bytes.Equal(seal([]byte("123456789")), want) {
		t.Errorf("% x", seal([]byte("123456789")))
	}
}

func TestImpossibleItems(t *testing.T) {
	for name, spoil := range map[string]func(*thaw.QueueItem){
		"function": func(it *thaw.QueueItem) { it.Function = "../x" },
		"colon":    func(it *thaw.QueueItem) { it.Function = "f:1" },
		"version":  func(it *thaw.QueueItem) { it.Qualifier = "01" },
		"kind":     func(it *thaw.QueueItem) { it.Kind = "x" },
		"state":    func(it *thaw.QueueItem) { it.State = "" },
		"result":   func(it *thaw.QueueItem) { it.Kind = thaw.KindCallback },
		"lease":    func(it *thaw.QueueItem) { it.Attempts = nil },
		"attempts": func(it *thaw.QueueItem) { it.Attempts = make([]thaw.Attempt, thaw.MaxAttempts+1) },
		"bytes":    func(it *thaw.QueueItem) { it.Bytes = -1 },
		"failures": func(it *thaw.QueueItem) { it.Failures = -1 },
	} {
		it := sample()
		spoil(&it)
		record, err := encode(it)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeItem(it.ID, record); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzDecodeItem feeds the decoder arbitrary records, and arbitrary bodies with a
// right checksum. What it takes it must be able to write and to read again.
func FuzzDecodeItem(f *testing.F) {
	record, err := encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample().ID, record)
	f.Add("", []byte{})
	f.Add("x", []byte{1, 2, 3, 4, 5, '{', '}'})
	f.Add(sample().ID, record[recordHead:])
	f.Add("x", []byte(`{"id":"x","function":"f","qualifier":"live","kind":"invoke","state":"waiting"}`))
	f.Add("x", []byte(`{"id":"x","function":"f","spec":"@hourly"}`))
	f.Fuzz(func(t *testing.T, id string, raw []byte) {
		for _, record := range [][]byte{raw, seal(raw)} {
			if s, err := decodeSchedule(id, record); err == nil && s.ID != id {
				t.Errorf("schedule %q filed as %q", s.ID, id)
			}
			it, err := decodeItem(id, record)
			if err != nil {
				continue
			}
			again, err := encode(it)
			if err != nil {
				continue // a time outside of what JSON has
			}
			if back, err := decodeItem(id, again); err != nil || back.ID != it.ID || back.State != it.State {
				t.Errorf("%+v does not come back: %v", it, err)
			}
		}
	})
}
