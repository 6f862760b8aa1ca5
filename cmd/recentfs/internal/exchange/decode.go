package exchange

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Decode reads what Load.Body is: first its tables, and then each record, which is
// valid until each returns. It ends with the first error. That is a BodyError if the
// body is not as Load makes it.
func Decode(r io.Reader, begin func(tables []string) error, each func(*Record) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, bufferSize), maxLine)
	var record Record
	n := 1
	for begun := false; lines.Scan(); n++ {
		if !begun {
			var head struct{ Tables []string }
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil {
				return &BodyError{1, fmt.Errorf("the tables are missing: %w", err)}
			}
			if err := begin(head.Tables); err != nil {
				return err
			}
			begun = true
			continue
		}
		if err := record.parse(lines.Bytes()); err != nil {
			return &BodyError{n, err}
		}
		if err := each(&record); err != nil {
			return err
		}
	}
	err := lines.Err()
	if errors.Is(err, bufio.ErrTooLong) {
		return &BodyError{n, fmt.Errorf("it has more than %d bytes", maxLine)}
	}
	return err
}

// BodyError is a mistake in a line of a body.
type BodyError struct {
	Line int
	Err  error
}

func (e *BodyError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap is the mistake.
func (e *BodyError) Unwrap() error { return e.Err }
