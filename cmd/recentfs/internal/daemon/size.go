package daemon

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes that is written as 4096, 512K, 4M or 1G, with units of
// 1024. It is a flag's value. 0 is no size.
type Size uint64

const sizeUnits = "KMGT"

func (s Size) String() string {
	if s == 0 {
		return "" // no default
	}
	unit := ""
	for i := 0; i < len(sizeUnits) && s%1024 == 0; i++ {
		s, unit = s/1024, sizeUnits[i:i+1]
	}
	return strconv.FormatUint(uint64(s), 10) + unit
}

// Type is what the command line calls it.
func (s *Size) Type() string { return "size" }

// Set reads a size of 1 or more. The command line says what to write.
func (s *Size) Set(text string) error {
	number, shift := text, 0
	if last := len(text) - 1; last > 0 {
		if unit := strings.IndexByte(sizeUnits, text[last]&^0x20); unit >= 0 {
			number, shift = text[:last], 10*(unit+1)
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n == 0 || n > math.MaxInt64>>shift {
		return errors.New("no size")
	}
	*s = Size(n << shift)
	return nil
}
