package ruleset

import (
	"errors"
	"fmt"
	"strings"
)

// split cuts a line into words as iptables-restore does: add_param_to_argv. A
// double quote opens and closes a quoted part, in which a backslash makes the
// next character an ordinary one. A closing quote also ends the word. A quote
// that stays open is an error, unlike in iptables-restore.
func split(text string) ([]string, error) {
	var words []string
	var word []byte
	open, escaped := false, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case escaped:
			word = append(word, c)
			escaped = false
		case open && c == '\\':
			escaped = true
		case open && c == '"':
			open = false
			words, word = append(words, string(word)), word[:0]
		case c == '"':
			open = true
		case !open && (c == ' ' || c == '\t'):
			if len(word) > 0 {
				words, word = append(words, string(word)), word[:0]
			}
		default:
			word = append(word, c)
		}
	}
	if open {
		return nil, errors.New(`a quote is not closed: put a " after the quoted text`)
	}
	if len(word) > 0 {
		words = append(words, string(word))
	}
	return words, nil
}

// counters checks the "[packets:bytes]" before a rule and returns what follows
// it: tokenize_rule_counters.
func counters(text string) (rest string, err error) {
	inside, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]")
	packets, bytes, two := strings.Cut(inside, ":")
	if !ok || !two || !isDecimal(packets) || !isDecimal(bytes) {
		return "", fmt.Errorf("counters at %.20q: they read [packets:bytes]", text)
	}
	return rest, nil
}

func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// number reads a whole number up to a limit, as strtoul does with base 0:
// xtables_strtoul. It refuses text after the number. A leading 0x makes it
// hexadecimal, a leading 0 octal. Spaces and a + may come first.
func number(s string, limit uint64) (n uint64, ok bool) {
	s = strings.TrimPrefix(strings.TrimLeft(s, " \t"), "+")
	base := uint64(10)
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		s, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		s, base = s[1:], 8
	}
	for i := range len(s) {
		d := uint64(digit(s[i]))
		// n cannot overflow: it stops at the limit, which is 2^32-1 at most.
		if n = n*base + d; d >= base || n > limit {
			return 0, false
		}
	}
	return n, s != ""
}

// digit is the value of a hexadecimal digit, and 255 for anything else.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// quote prints a string as iptables-save does: xtables_save_string.
func quote(b []byte, s string) []byte {
	plain := func(c rune) bool {
		return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if strings.IndexByte(`"\'`, s[i]) >= 0 {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
