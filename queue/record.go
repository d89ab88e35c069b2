package queue

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"thaw"
)

// The layout of a record; see the package's comment.
const (
	recordVersion = 1
	recordHead    = 5
)

var (
	errShort    = errors.New("the record is cut short")
	errVersion  = errors.New("the record is of an unknown version")
	errChecksum = errors.New("the record's checksum differs")
)

// seal returns body as a record.
func seal(body []byte) []byte {
	record := make([]byte, recordHead, recordHead+len(body))
	record[0] = recordVersion
	binary.BigEndian.PutUint32(record[1:], checksum(body))
	return append(record, body...)
}

// open returns the body of a record, which it shares memory with.
func open(record []byte) ([]byte, error) {
	if len(record) < recordHead {
		return nil, errShort
	}
	if record[0] != recordVersion {
		return nil, errVersion
	}
	body := record[recordHead:]
	if binary.BigEndian.Uint32(record[1:]) != checksum(body) {
		return nil, errChecksum
	}
	return body, nil
}

func checksum(body []byte) uint32 {
	return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
}

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return seal(body), nil
}

// decodeItem reads an item that is filed under id, and refuses one that no encoder
// made.
func decodeItem(id string, record []byte) (thaw.QueueItem, error) {
	var it thaw.QueueItem
	body, err := open(record)
	if err != nil {
		return it, err
	}
	if err := json.Unmarshal(body, &it); err != nil {
		return thaw.QueueItem{}, fmt.Errorf("the record is not JSON of an item: %w", err)
	}
	if err := checkItem(id, it); err != nil {
		return thaw.QueueItem{}, err
	}
	return it, nil
}

func checkItem(id string, it thaw.QueueItem) error {
	switch {
	case it.ID != id:
		return fmt.Errorf("item %.80q is filed as %.80q", it.ID, id)
	case thaw.CheckItemID(id) != nil:
		return thaw.CheckItemID(id)
	// A dead item may be one that nobody knows the function of any more.
	case it.Ref().Validate() != nil && (it.State != thaw.ItemDead || it.Function != ""):
		return it.Ref().Validate()
	case it.Kind != thaw.KindInvoke && it.Kind != thaw.KindCallback:
		return fmt.Errorf("unknown kind %.20q of an item", it.Kind)
	case it.Kind == thaw.KindCallback && it.Result == nil && it.State != thaw.ItemDead:
		return errors.New("a callback without a result")
	case it.State != thaw.ItemWaiting && it.State != thaw.ItemRunning && it.State != thaw.ItemDead:
		return fmt.Errorf("unknown state %.20q of an item", it.State)
	case it.State == thaw.ItemRunning && len(it.Attempts) == 0:
		return errors.New("an item that runs without an attempt")
	case len(it.Attempts) > thaw.MaxAttempts || it.Failures < 0 || it.Faults < 0 || it.Bytes < 0:
		return errors.New("a count of an item is out of range")
	}
	return nil
}

// decodeSchedule reads a schedule that is filed under id.
func decodeSchedule(id string, record []byte) (thaw.Schedule, error) {
	var s thaw.Schedule
	body, err := open(record)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return thaw.Schedule{}, fmt.Errorf("the record is not JSON of a schedule: %w", err)
	}
	if s.ID != id {
		return thaw.Schedule{}, fmt.Errorf("schedule %.80q is filed as %.80q", s.ID, id)
	}
	if err := errors.Join(thaw.CheckName(s.ID), s.Ref().Validate()); err != nil {
		return thaw.Schedule{}, err
	}
	return s, nil
}
