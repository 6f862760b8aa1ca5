package ruleset

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"recentfs/capture"
)

// matches are the matches that can be evaluated here. Each has a file of its
// own, match_NAME.go, and a line here: a new match needs no more.
var matches = []matchExtension{
	{"tcp", 0, unix.IPPROTO_TCP, func() matcher { return &tcpMatch{portMatch: anyPort} }},
	{"udp", 0, unix.IPPROTO_UDP, func() matcher { return &udpMatch{portMatch: anyPort} }},
	{"sctp", 0, unix.IPPROTO_SCTP, func() matcher { return &sctpMatch{portMatch: anyPort} }},
	{"multiport", 0, 0, func() matcher { return &multiportMatch{} }},
	{"icmp", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, func() matcher { return &icmpMatch{} }},
	{"icmp6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, func() matcher { return &icmp6Match{} }},
	{"ttl", unix.NFPROTO_IPV4, 0, func() matcher { return &ttlMatch{} }},
	{"length", 0, 0, func() matcher { return &lengthMatch{} }},
	{"mark", 0, 0, func() matcher { return &markMatch{} }},
	{"comment", 0, 0, func() matcher { return &commentMatch{} }},
	{"recent", 0, 0, func() matcher { return newRecentMatch() }},
}

// targets are the targets that are not chains. Those with options have a file
// of their own, target_NAME.go.
var targets = []targetExtension{
	{name: "ACCEPT", kind: targetAccept},
	{name: "DROP", kind: targetDrop},
	{name: "RETURN", kind: targetReturn},
	{name: "REPEAT", kind: targetRepeat},
	{"MARK", targetMark, func(t *target) extension { return &markOptions{target: t} }, appendMark},
	{"NFQUEUE", targetQueue, func(t *target) extension { return &queueOptions{target: t} }, appendQueue},
	{"LOG", targetLog, func(t *target) extension { return newLogOptions(t) }, appendLog},
}

// extension is a match or a target of a rule while its options are read:
// struct xtables_match or struct xtables_target of iptables.
type extension interface {
	// options are what may follow the -m or -j. Each is given once at most,
	// and reads into this extension.
	options() []option
	// check refuses options that do not go together, or with the rest of the
	// rule. It is called at the end of the line.
	check(l *line) error
}

// matcher is one -m of a rule, with its options.
type matcher interface {
	extension
	// meets asks a packet: the match function of struct xt_match. It must not
	// allocate, and must not wait.
	meets(p *capture.Packet, h *hold) outcome
	// append prints the options as iptables-save does: the extension's save.
	// The family is the rule's, and 0 in a rule for both.
	append(b []byte, family uint8) []byte
}

// matchExtension is a match of a name: what struct xt_match says before a rule
// uses it.
type matchExtension struct {
	name     string
	family   uint8 // makes the rule one for this family; 0 for both
	protocol uint8 // needs this -p in the rule; 0 for any
	make     func() matcher
}

// targetExtension is a target of a name.
type targetExtension struct {
	name    string
	kind    targetKind
	options func(t *target) extension // reads into t; nil for a target without options
	append  func(b []byte, t *target) []byte
}

func findMatch(name string) *matchExtension {
	for i := range matches {
		if matches[i].name == name {
			return &matches[i]
		}
	}
	return nil
}

func findTarget(name string) *targetExtension {
	for i := range targets {
		if targets[i].name == name {
			return &targets[i]
		}
	}
	return nil
}

// targetOf is the extension of a kind; nil for a call of a chain and for none.
func targetOf(kind targetKind) *targetExtension {
	for i := range targets {
		if targets[i].kind == kind {
			return &targets[i]
		}
	}
	return nil
}

func targetNames() string {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = t.name
	}
	return strings.Join(names, ", ")
}

// refuseKernelOnly reads an option that needs more of a packet than is decoded.
func refuseKernelOnly(_ *line, g *given) error {
	return fmt.Errorf("%s: only the kernel can match this: put it on the kernel's rule that queues", g.name)
}
