package script

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/rogpeppe/go-internal/testscript"

	"recentfs/tests/lab"
)

// TestScripts runs the scripts of testdata/script: what a user types and what the
// program answers. A script finds ssh.pcap in its directory, and can use a command
// of ours: `fails STATUS PROGRAM ARG...` wants that exit status, one line on
// standard error and nothing on standard output.
func TestScripts(t *testing.T) {
	program := lab.Program(t)
	// A `run` that should fail may succeed: not in the machine's own namespace.
	ns := lab.NewNetns(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+string(os.PathListSeparator)+env.Getenv("PATH"))
			return writeCapture(filepath.Join(env.WorkDir, "ssh.pcap"))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails": func(ts *testscript.TestScript, neg bool, args []string) { fails(ts, ns, neg, args) },
		},
	})
}

func fails(ts *testscript.TestScript, ns *lab.Netns, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails STATUS PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	// If a `run` does not fail, timeout ends it with status 124.
	err = ns.Do(func() error { return ts.Exec("timeout", append([]string{lab.Patience.String()}, args[1:]...)...) })
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		ts.Fatalf("%q: %v, want exit status %d", args[1:], err, want)
	}
	if exit.ExitCode() != want {
		ts.Fatalf("%q: exit status %d, want %d", args[1:], exit.ExitCode(), want)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("%q printed %q on standard output", args[1:], out)
	}
	if why := ts.ReadFile("stderr"); strings.Count(why, "\n") != 1 || strings.TrimSpace(why) == "" {
		ts.Fatalf("%q: want one line on standard error, got %q", args[1:], why)
	}
}

// writeCapture makes a capture file: from noon of 1 January 2026 on, 192.0.2.7
// opens an ssh connection every 10 seconds, six times, and 2001:db8::7 opens one a
// second after the first.
func writeCapture(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		return err
	}
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for i := range 6 {
		at := noon.Add(time.Duration(i) * 10 * time.Second)
		if err := writeSYN(w, at, net.IPv4(192, 0, 2, 7).To4(), net.IPv4(192, 0, 2, 1).To4()); err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		if err := writeSYN(w, at.Add(time.Second), net.ParseIP("2001:db8::7"), net.ParseIP("2001:db8::1")); err != nil {
			return err
		}
	}
	return f.Close()
}

// writeSYN appends one SYN to port 22 with a TTL of 57.
func writeSYN(w *pcapgo.Writer, at time.Time, src, dst net.IP) error {
	tcp := &layers.TCP{SrcPort: 40000, DstPort: lab.SSHPort, SYN: true, Window: 64240}
	ethernet := &layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		EthernetType: layers.EthernetTypeIPv4,
	}
	var ip gopacket.SerializableLayer = &layers.IPv4{Version: 4, TTL: 57, Protocol: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
	if src.To4() == nil {
		ethernet.EthernetType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: 57, NextHeader: layers.IPProtocolTCP, SrcIP: src, DstIP: dst}
	}
	if err := tcp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		return err
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ethernet, ip, tcp); err != nil {
		return err
	}
	return w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(buf.Bytes()), Length: len(buf.Bytes())}, buf.Bytes())
}
