package recent

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"syscall"
)

// Compat says which of the kernel's modules is reproduced.
type Compat uint8

// The two compatibilities.
const (
	Classic Compat = iota
	Modern
)

// ParseCompat reads "classic" or "modern".
func ParseCompat(s string) (Compat, error) {
	switch s {
	case "classic":
		return Classic, nil
	case "modern":
		return Modern, nil
	}
	return 0, fmt.Errorf("compatibility %q: it is classic or modern", s)
}

func (c Compat) String() string {
	if c == Modern {
		return "modern"
	}
	return "classic"
}

// Params are the module's parameters. They take effect when a table is made, and
// a Reload brings ListTot and PktListTot to the tables that are there.
type Params struct {
	Compat Compat
	// ListTot, ip_list_tot, is the number of addresses that a table keeps,
	// from 1 to MaxListTot. The least recently seen makes room for a new one.
	ListTot uint32
	// PktListTot, ip_pkt_list_tot, is the number of stamps kept per address:
	// 1 to 255 in Classic; 0 to 65535 in Modern, where 0 lets rules decide.
	PktListTot uint32
	// Perms, ip_list_perms, are the permission bits of a table's file. 0 means
	// 0444, as for every file of procfs (proc_create_reg).
	Perms uint32
	// UID and GID, ip_list_uid and ip_list_gid, own a table's file.
	UID, GID uint32
}

// MaxListTot bounds ip_list_tot. Above it the kernel fails without a message.
const MaxListTot = 1 << 30

const (
	maxPktListClassic = 255
	maxStampsModern   = 65536 // XT_RECENT_MAX_NSTAMPS
	nameLen           = 200   // XT_RECENT_NAME_LEN, with the final NUL
)

// DefaultParams are the module's defaults.
func DefaultParams(c Compat) Params {
	p := Params{Compat: c, ListTot: 100, Perms: 0o644}
	if c == Classic {
		p.PktListTot = 20
	}
	return p
}

// Error is a refusal: the errno that the kernel returns, and the reason, which
// the kernel only logs.
type Error struct {
	Errno  syscall.Errno
	Reason string
}

func (e *Error) Error() string { return e.Reason }

// Unwrap lets errors.Is find the errno.
func (e *Error) Unwrap() error { return e.Errno }

func invalid(format string, args ...any) *Error {
	return &Error{syscall.EINVAL, fmt.Sprintf(format, args...)}
}

// Check refuses what the module refuses at load time: recent_mt_init.
func (p Params) Check() error {
	if p.ListTot == 0 || p.ListTot > MaxListTot {
		return invalid("ip_list_tot=%d: a table keeps 1 to %d addresses", p.ListTot, MaxListTot)
	}
	least, most := uint32(1), uint32(maxPktListClassic)
	if p.Compat == Modern {
		least, most = 0, maxStampsModern-1
	}
	if p.PktListTot < least || p.PktListTot > most {
		return invalid("ip_pkt_list_tot=%d: an address keeps %d to %d stamps (--compat %s)",
			p.PktListTot, least, most, p.Compat)
	}
	if p.Perms&^0o777 != 0 {
		return invalid("ip_list_perms=%#o: permission bits are 0 to 0777", p.Perms)
	}
	return nil
}

// Set changes a parameter, by its name in the module.
// ip_list_perms is octal, with or without a leading 0.
func (p *Params) Set(name, value string) error {
	base := 0
	var to *uint32
	switch name {
	case "ip_list_tot":
		to = &p.ListTot
	case "ip_pkt_list_tot":
		to = &p.PktListTot
	case "ip_list_perms":
		to, base = &p.Perms, 8
		value = strings.TrimPrefix(value, "0o")
	case "ip_list_uid":
		to = &p.UID
	case "ip_list_gid":
		to = &p.GID
	case "ip_list_hash_size":
		// The module takes it, and then computes its own (recent_mt_init).
		to = new(uint32)
	default:
		return invalid("parameter %q: there are ip_list_tot, ip_pkt_list_tot, ip_list_perms, ip_list_uid and ip_list_gid", name)
	}
	n, err := strconv.ParseUint(value, base, 32)
	if err != nil || strings.Contains(value, "_") {
		if base == 8 {
			return invalid("%s=%q: octal digits are needed, as in 0644", name, value)
		}
		return invalid("%s=%q: a number from 0 to 4294967295 is needed", name, value)
	}
	*to = uint32(n)
	return nil
}

// maxHitCount is the largest --hitcount that a rule may ask for.
func (p Params) maxHitCount() uint32 {
	if p.Compat == Modern {
		return maxStampsModern - 1
	}
	return p.PktListTot
}

// Ring is the number of stamps per address that a rule with this hitcount needs
// in its table. In Modern it is the nstamp_mask of recent_mt_check,
// plus 1.
func (p Params) Ring(hitCount uint32) uint32 {
	switch {
	case p.Compat == Classic:
		return p.PktListTot
	case p.PktListTot != 0 && hitCount < p.PktListTot:
		return powerOfTwo(p.PktListTot)
	case hitCount != 0:
		return powerOfTwo(hitCount)
	}
	return 32
}

// powerOfTwo is the kernel's roundup_pow_of_two, n being 1 or more.
func powerOfTwo(n uint32) uint32 { return 1 << bits.Len32(n-1) }

// HashSize, ip_list_hash_size, is the number of hash chains that a table has in
// the kernel. It follows from ip_list_tot: recent_mt_init.
func (p Params) HashSize() uint32 { return 1 << bits.Len32(p.ListTot) }

// maxWrite is the number of bytes after which a write is cut: the size of the
// buffer of recent_mt_proc_write, for the longest address, its sign and a NUL.
func (p Params) maxWrite() int {
	if p.Compat == Modern {
		return len("+b335:1d35:1e55:dead:c0de:1715:255.255.255.255") + 1
	}
	return len("+b335:1d35:1e55:dead:c0de:1715:5afe:c0de") + 1
}
