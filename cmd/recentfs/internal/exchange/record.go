// Package exchange is how addresses with their times leave a table and come into
// another: between machines, kernels and programs.
//
// # The format
//
// It is JSON lines, an object for each address:
//
//	{"table":"SSH","address":"192.0.2.1","ttl":57,"times":[1796000000.004,1796000060.5]}
//
// times are when the address was seen, the oldest first: seconds since 1970 with up
// to six decimals. A program can compare them as they are (jq: `now - .times[-1]`),
// they are short, and a tick of any kernel comes back exactly. What has no times is
// seen when it is imported, unless the table has the address already. ttl may be left
// out, which is 0, for any.
//
// Each line stands alone, so that files may be joined, sorted, filtered and cut. A
// field that is not named here is an error, so that an older program takes no part of
// what a newer one means for the whole.
package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Record is an address of a table.
type Record struct {
	Table   string
	Address netip.Addr
	TTL     uint8
	Times   []int64 // microseconds since 1970, the oldest first
}

const (
	second = 1e6
	// maxTime is the year 2200: far from what a time.Duration can hold.
	maxTime = 7258118400 * second
)

// append appends the record's line. name is its table in JSON.
func (r *Record) append(b, name []byte) []byte {
	b = append(append(b, `{"table":`...), name...)
	b = append(r.Address.AppendTo(append(b, `,"address":"`...)), `","ttl":`...)
	b = append(strconv.AppendUint(b, uint64(r.TTL), 10), `,"times":[`...)
	for i, t := range r.Times {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendTime(b, t)
	}
	return append(b, "]}\n"...)
}

// appendTime appends a time as short as it can be.
func appendTime(b []byte, t int64) []byte {
	b = strconv.AppendInt(b, t/second, 10)
	rest := t % second
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for unit := int64(second / 10); rest > 0; unit /= 10 {
		b = append(b, '0'+byte(rest/unit))
		rest %= unit
	}
	return b
}

// quote is a table's name in JSON.
func quote(table string) ([]byte, error) {
	if !utf8.ValidString(table) {
		return nil, fmt.Errorf("table %q: JSON has no such name, since it is not UTF-8", table)
	}
	return json.Marshal(table)
}

// parse reads a line. What append wrote is read fast.
func (r *Record) parse(line []byte) error {
	if r.parseFast(line) {
		return nil
	}
	var object struct {
		Table   string        `json:"table"`
		Address string        `json:"address"`
		TTL     uint8         `json:"ttl"`
		Times   []json.Number `json:"times"`
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&object); err != nil {
		return explainJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the object: a line has one")
	}
	a, err := parseAddress(object.Address)
	if err != nil {
		return err
	}
	r.Table, r.Address, r.TTL, r.Times = object.Table, a, object.TTL, r.Times[:0]
	for _, n := range object.Times {
		f, err := strconv.ParseFloat(n.String(), 64)
		if err != nil || f < 0 || f > maxTime/second {
			return fmt.Errorf("%s is no time: seconds since 1970 are needed", n)
		}
		r.Times = append(r.Times, int64(math.Round(f*second)))
	}
	return nil
}

// explainJSON says what is wrong with an object.
func explainJSON(err error) error {
	if typed := new(json.UnmarshalTypeError); errors.As(err, &typed) {
		return fmt.Errorf("%q is not what %q may be: see 'recentfs export --help'", typed.Value, typed.Field)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%s is no field: an address has table, address, ttl and times, as 'recentfs export' prints", field)
	}
	return fmt.Errorf("this is no JSON object in one line (jq -c): %w", err)
}

// parseAddress reads an address, which may be a prefix of one address.
func parseAddress(text string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%.60q is no address: one as 192.0.2.1 or 2001:db8::1 is needed", text)
	}
	if !p.IsSingleIP() {
		return netip.Addr{}, fmt.Errorf("%s is a prefix of many addresses: a table has single ones", text)
	}
	return p.Addr(), nil
}

// parseFast reads what append wrote, and returns false for anything else.
func (r *Record) parseFast(line []byte) bool {
	table, rest, ok := cut(line, `{"table":"`, '"')
	if !ok || bytes.IndexByte(table, '\\') >= 0 || !utf8.Valid(table) {
		return false
	}
	address, rest, ok := cut(rest, `,"address":"`, '"')
	if !ok {
		return false
	}
	ttl, rest, ok := cut(rest, `,"ttl":`, ',')
	if !ok {
		return false
	}
	times, rest, ok := cut(rest, `"times":[`, ']')
	if !ok || string(rest) != "}" {
		return false
	}
	for _, b := range table {
		if b < ' ' {
			return false
		}
	}
	a, err := netip.ParseAddr(string(address))
	if err != nil || a.Zone() != "" {
		return false
	}
	n, ok := parseNumber(ttl, math.MaxUint8)
	if !ok {
		return false
	}
	r.Address, r.TTL, r.Times = a, uint8(n), r.Times[:0]
	for more := len(times) > 0; more; {
		var one []byte
		one, times, more = bytes.Cut(times, []byte(","))
		t, ok := parseTime(one)
		if !ok {
			return false
		}
		r.Times = append(r.Times, t)
	}
	if r.Table != string(table) { // mostly it is that of the line before
		r.Table = string(table)
	}
	return true
}

// cut returns what is between a word at the start of a line and a byte, and what is
// after that.
func cut(line []byte, word string, end byte) (value, rest []byte, ok bool) {
	if len(line) < len(word) || string(line[:len(word)]) != word {
		return nil, nil, false
	}
	value, rest, ok = bytes.Cut(line[len(word):], []byte{end})
	return value, rest, ok
}

// parseNumber reads decimal digits, as JSON has them: without a leading 0.
func parseNumber(text []byte, limit int64) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 1 && text[0] == '0' {
		return 0, false
	}
	for _, b := range text {
		if b-'0' > 9 || n > limit {
			return 0, false
		}
		n = n*10 + int64(b-'0')
	}
	return n, n <= limit
}

// parseTime reads what appendTime wrote.
func parseTime(text []byte) (int64, bool) {
	whole, decimals, point := bytes.Cut(text, []byte("."))
	seconds, ok := parseNumber(whole, maxTime/second-1)
	if !ok || point && (len(decimals) == 0 || len(decimals) > 6) {
		return 0, false
	}
	t := seconds * second
	unit := int64(second / 10)
	for _, b := range decimals {
		if b-'0' > 9 {
			return 0, false
		}
		t += int64(b-'0') * unit
		unit /= 10
	}
	return t, true
}
