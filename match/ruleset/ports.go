package ruleset

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"recentfs/capture"
)

// ports is a range, both ends included.
type ports struct{ low, high uint16 }

var allPorts = ports{0, 65535}

func (r ports) contains(n uint16) bool { return r.low <= n && n <= r.high }

func (r ports) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.low), 10)
	if r.low != r.high {
		b = strconv.AppendUint(append(b, ':'), uint64(r.high), 10)
	}
	return b
}

// portTest is --sport or --dport of -m tcp, udp and sctp.
type portTest struct {
	ports
	given, inverted bool
}

func (t *portTest) meets(port uint16) bool { return t.contains(port) != t.inverted }

func (t *portTest) append(b []byte, name string) []byte {
	return t.ports.append(appendOption(b, t.inverted, name))
}

// portMatch is the part of -m tcp, udp and sctp that is about ports.
type portMatch struct{ src, dst portTest }

// anyPort is a portMatch without options.
var anyPort = portMatch{src: portTest{ports: allPorts}, dst: portTest{ports: allPorts}}

// portOptions are --sport and --dport, with the match's own way to read ports.
func (m *portMatch) portOptions(read func(*given) (ports, error)) []option {
	into := func(t *portTest) func(*line, *given) error {
		return func(_ *line, g *given) (err error) {
			t.ports, err = read(g)
			t.given, t.inverted = true, g.inverted
			return err
		}
	}
	return []option{
		{names: []string{"source-port", "sport"}, args: 1, invertible: true, read: into(&m.src)},
		{names: []string{"destination-port", "dport"}, args: 1, invertible: true, read: into(&m.dst)},
	}
}

func (m *portMatch) meetsPorts(p *capture.Packet) bool {
	return m.src.meets(p.SrcPort) && m.dst.meets(p.DstPort)
}

// appendNarrow prints the ports as tcp_save and udp_save do, which leave out
// what any port meets.
func (m *portMatch) appendNarrow(b []byte) []byte {
	if m.src.ports != allPorts {
		b = m.src.append(b, "--sport ")
	}
	if m.dst.ports != allPorts {
		b = m.dst.append(b, "--dport ")
	}
	return b
}

// hasTransport is for the matches that look at the transport header, which
// only the first fragment has. One that is too short for the header is dropped.
func hasTransport(p *capture.Packet) outcome {
	switch {
	case p.FragmentOffset != 0:
		return no
	case !p.Transport:
		return hotdrop
	}
	return yes
}

// parsePorts reads PORT, LOW:HIGH, LOW: or :HIGH.
func parsePorts(g *given, parse func(text string) (uint16, error)) (ports, error) {
	low, high, isRange := strings.Cut(g.arg[0], ":")
	r := allPorts
	var err error
	if low != "" || !isRange {
		if r.low, err = parse(low); err != nil {
			return r, fmt.Errorf("%s: %w", g.name, err)
		}
		r.high = r.low
	}
	if isRange {
		r.high = allPorts.high
		if high != "" {
			if r.high, err = parse(high); err != nil {
				return r, fmt.Errorf("%s: %w", g.name, err)
			}
		}
	}
	return r, nil
}

// parseOrderedPorts is parsePorts for a protocol, and refuses a range upside
// down.
func parseOrderedPorts(g *given, protocol string) (ports, error) {
	r, err := parsePorts(g, func(text string) (uint16, error) { return parsePort(text, protocol) })
	if err == nil && r.low > r.high {
		err = fmt.Errorf("%s %s: the first port is the larger one, swap them", g.name, g.arg[0])
	}
	return r, err
}

// parsePort reads a port's number, or the name that the protocol has for it in
// /etc/services: xtables_parse_port.
func parsePort(text, protocol string) (uint16, error) {
	if n, ok := number(text, 65535); ok {
		return uint16(n), nil
	}
	return serviceByName(text, protocol)
}

// parseUDPPort is for the udp match, whose ports getaddrinfo reads: a number is
// decimal, and a name may be that of any protocol (xtables_getportbyname). It
// refuses a number that getaddrinfo would cut to 16 bits.
func parseUDPPort(text string) (uint16, error) {
	digits := strings.TrimPrefix(strings.TrimLeft(text, " \t"), "+")
	if n, err := strconv.ParseUint(digits, 10, 16); err == nil {
		return uint16(n), nil
	}
	return serviceByName(text, "tcp", "udp", "dccp", "udplite", "sctp")
}

// serviceByName is the port that the first of the protocols has under a name.
func serviceByName(name string, protocols ...string) (uint16, error) {
	all := services()
	for _, p := range protocols {
		if n, ok := all[name+"/"+p]; ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("port %q is neither a number from 0 to 65535 nor a name that %s has for %s",
		name, servicesFile, strings.Join(protocols, ", "))
}

const servicesFile = "/etc/services"

// services are the ports by name and protocol, "ssh/tcp": getservbyname. The
// file is read when a rule first needs it. Without the file there are none.
var services = sync.OnceValue(func() map[string]uint16 {
	text, _ := os.ReadFile(servicesFile)
	return parseServices(text)
})

func parseServices(text []byte) map[string]uint16 {
	all := make(map[string]uint16)
	for line := range bytes.Lines(text) {
		line, _, _ = bytes.Cut(line, []byte("#"))
		word := strings.Fields(string(line))
		if len(word) < 2 {
			continue
		}
		port, protocol, _ := strings.Cut(word[1], "/")
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			continue
		}
		for _, name := range append(word[2:], word[0]) {
			if key := name + "/" + protocol; all[key] == 0 {
				all[key] = uint16(n)
			}
		}
	}
	return all
}
