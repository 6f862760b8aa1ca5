package ruleset

import (
	"encoding/hex"
	"strings"
	"testing"

	"recentfs/capture"
)

// TestLogRecord: the lines are those of nf_log_syslog.c. TestLiveLog compares more
// of them with the running kernel's.
func TestLogRecord(t *testing.T) {
	const (
		v4  = "45b8003c 1c464000 40060000 c0000201 c6336407 "  // 192.0.2.1 to 198.51.100.7
		tcp = "04000016 00000001 00000002 a202faf0 00000003 "  // a SYN with options
		opt = "020405b4 0402080a 0000 0001 0000 0000 01030307" // MSS, SACK, timestamp, window
		mac = "p: IN=eth0 OUT=eth1 MAC= "
		ip  = "SRC=192.0.2.1 DST=198.51.100.7 "
		a6  = "20010db8000000000000000000000001 20010db8000700000000000000000007 "
		ip6 = "SRC=2001:0db8:0000:0000:0000:0000:0000:0001 DST=2001:0db8:0007:0000:0000:0000:0000:0007 "
	)
	all := " --log-tcp-sequence --log-tcp-options --log-ip-options --log-uid"
	for _, c := range []struct {
		name    string
		options string
		packet  string // in hex
		change  func(*capture.Packet)
		want    string
	}{
		{"TCP", "", v4 + tcp + opt, mark(0x10),
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 WINDOW=64240 RES=0x08 SYN URGP=3 MARK=0x10 "},
		{"TCP, all options", all, v4 + tcp + opt, owner(1000, 100),
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 SEQ=1 ACK=2 WINDOW=64240 RES=0x08 SYN URGP=3 OPT (020405B40402080A000000010000000001030307) UID=1000 GID=100 "},
		{"an owner that is not asked for", " --log-tcp-sequence", v4 + tcp + opt, owner(1000, 100),
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 SEQ=1 ACK=2 WINDOW=64240 RES=0x08 SYN URGP=3 "},
		{"all flags", "", v4 + strings.Replace(tcp, "a202", "a1ff", 1), nil,
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 WINDOW=64240 RES=0x00 AE CWR ECE URG ACK PSH RST SYN FIN URGP=3 "},
		{"FIN", "", v4 + strings.Replace(tcp, "a202", "a001", 1), nil,
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 WINDOW=64240 RES=0x00 FIN URGP=3 "},
		{"cut TCP options", all, v4 + tcp, owner(0, 0),
			mac + ip + "LEN=60 TOS=0x18 PREC=0xA0 TTL=64 ID=7238 DF PROTO=TCP SPT=1024 DPT=22 SEQ=1 ACK=2 WINDOW=64240 RES=0x08 SYN URGP=3 OPT (TRUNCATED)"},
		{"a segment too large for its field", "", "45000000 00010000 40060000 c0000201 c6336407" + tcp, length(70000),
			mac + ip + "LEN=70000 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=TCP SPT=1024 DPT=22 WINDOW=64240 RES=0x08 SYN URGP=3 "},
		{"UDP from here", "", "45000021 00018000 40110000 c0000201 c6336407 0400 0035 000d 0000 68656c6c6f", devices("", "eth1"),
			"p: IN= OUT=eth1 " + ip + "LEN=33 TOS=0x00 PREC=0x00 TTL=64 ID=1 CE PROTO=UDP SPT=1024 DPT=53 LEN=13 "},
		{"a long device", "", "4500001c 00010000 40010000 c0000201 c6336407 0800 0000 0007 0008", devices("abcdefghijklmno", ""),
			"p: IN=abcdefghijklmno OUT= MAC= " + ip + "LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ICMP TYPE=8 CODE=0 ID=7 SEQ=8 "},
		{"ICMP with the header of another packet", "", "45000038 00010000 40010000 c0000201 c6336407 0304 0000 0000 05dc" +
			"4500001c 00020000 3f110000 c6336407 c0000201 0035 0400 0008 0000", mark(1),
			mac + ip + "LEN=56 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ICMP TYPE=3 CODE=4 [SRC=198.51.100.7 DST=192.0.2.1 LEN=28 TOS=0x00 PREC=0x00 TTL=63 ID=2 PROTO=UDP SPT=53 DPT=1024 LEN=8 ] MTU=1500 MARK=0x1 "},
		{"an ICMP error without the header of another packet", "", "4500001c 00010000 40010000 c0000201 c6336407 0301 0000 0000 0000", mark(1),
			mac + ip + "LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ICMP TYPE=3 CODE=1 INCOMPLETE [8 bytes] MARK=0x1 "},
		{"ICMP with cut options of another packet", " --log-ip-options", "45000038 00010000 40010000 c0000201 c6336407 0b00 0000 0000 0000" +
			"4600001c 00020000 3f110000 c6336407 c0000201", mark(1),
			mac + ip + "LEN=56 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ICMP TYPE=11 CODE=0 [SRC=198.51.100.7 DST=192.0.2.1 LEN=28 TOS=0x00 PREC=0x00 TTL=63 ID=2 TRUNCATED] MARK=0x1 "},
		{"first fragment", "", "4500001c 00012000 40110000 c0000201 c6336407 0400 0035 000d 0000", nil,
			mac + ip + "LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 MF PROTO=UDP SPT=1024 DPT=53 LEN=13 "},
		{"later fragment", "", "4500001c 000100b9 40060000 c0000201 c6336407 0000 0000", nil,
			mac + ip + "LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 FRAG:185 PROTO=TCP "},
		{"cut header", "", "45000028 00010000 40060000 c0000201 c6336407 0000 0000", length(24),
			mac + ip + "LEN=40 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=TCP INCOMPLETE [4 bytes] "},
		{"IP options", " --log-ip-options", "46000018 00010000 402f0000 c0000201 c6336407 94040000", nil,
			mac + ip + "LEN=24 TOS=0x00 PREC=0x00 TTL=64 ID=1 OPT (94040000) PROTO=47 "},
		{"ESP", "", "4500001c 00010000 40320000 c0000201 c6336407 00001234 00000001", nil,
			mac + ip + "LEN=28 TOS=0x00 PREC=0x00 TTL=64 ID=1 PROTO=ESP SPI=0x1234 "},
		{"ICMPv6", "", "6ab12345 0008 3a40" + a6 + "8000 0000 0007 0008", nil,
			mac + ip6 + "LEN=48 TC=171 HOPLIMIT=64 FLOWLBL=74565 PROTO=ICMPv6 TYPE=128 CODE=0 ID=7 SEQ=8 "},
		{"ICMPv6 with the header of another packet", "", "60000000 0038 3a40" + a6 + "0200 0000 000005dc 60000000 0008 1140" + a6 + "0035 0400 0008 0000", mark(1),
			mac + ip6 + "LEN=96 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=ICMPv6 TYPE=2 CODE=0 [" + ip6 + "LEN=48 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=53 DPT=1024 LEN=8 ] MTU=1500 MARK=0x1 "},
		{"ICMPv6 with a cut header of another packet", "", "60000000 0038 3a40" + a6 + "0400 0000 00000028 60000000 0008 1140", mark(1),
			mac + ip6 + "LEN=96 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=ICMPv6 TYPE=4 CODE=0 POINTER=00000028 [TRUNCATED] MARK=0x1 "},
		{"an IPv6 segment too large for its field", "", "60000000 0000 1140" + a6 + "0400 0035 000d 0000", length(70000),
			mac + ip6 + "LEN=70000 TC=0 HOPLIMIT=64 FLOWLBL=0 PROTO=UDP SPT=1024 DPT=53 LEN=13 "},
		{"IPv6 fragment, its options", " --log-ip-options", "60000000 0010 2c40" + a6 + "1100 05a9 00000042 0400 0035 000d 0000", mark(2),
			mac + ip6 + "LEN=56 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( FRAG:1448 INCOMPLETE ID:00000042 ) PROTO=UDP MARK=0x2 "},
		{"two headers of options and ESP", " --log-ip-options", "60000000 0020 0040" + a6 + "3c01000000000000 0000000000000000 3200000000000000 00001234 00000001", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( ) OPT ( ) OPT ( ESP SPI=0x1234 )"},
		{"AH over IPv6", " --log-ip-options", "60000000 0020 3340" + a6 + "11040000 00001234 00000001 000000000000000000000000 0400 0035 000d 0000", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( AH SPI=0x1234 ) PROTO=UDP SPT=1024 DPT=53 LEN=13 MARK=0x2 "},
		{"cut AH", " --log-ip-options", "60000000 0020 3340" + a6 + "11040000 00001234", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( AH INCOMPLETE [8 bytes] )"},
		{"cut ESP", " --log-ip-options", "60000000 0020 3240" + a6 + "00001234", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( ESP INCOMPLETE [4 bytes] )"},
		{"cut fragment header", "", "60000000 0020 2c40" + a6 + "32000008", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 FRAG:TRUNCATED "},
		{"ESP in a later fragment", " --log-ip-options", "60000000 0020 2c40" + a6 + "32000008 00000042 00001234 00000001", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( FRAG:8 ID:00000042 ) OPT ( ESP )"},
		{"options in a later fragment", " --log-ip-options", "60000000 0020 2c40" + a6 + "3c000008 00000042 1100000000000000", mark(2),
			mac + ip6 + "LEN=72 TC=0 HOPLIMIT=64 FLOWLBL=0 OPT ( FRAG:8 ID:00000042 ) OPT ( )"},
		{"ESP over IPv6", "", "60000000 0008 3240" + a6 + "00001234 00000001", mark(2),
			mac + ip6 + "LEN=48 TC=0 HOPLIMIT=64 FLOWLBL=0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := hex.DecodeString(strings.ReplaceAll(c.packet, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			p := capture.Packet{In: "eth0", Out: "eth1", Length: uint32(len(data)), Data: data}
			if !p.Decode(data) {
				t.Fatal("no header")
			}
			if c.change != nil {
				c.change(&p)
			}
			b := load(t, "*recent\n:QUEUE0 ACCEPT\n-A QUEUE0 -j LOG --log-prefix \"p: \" --log-level info"+c.options+"\nCOMMIT\n")
			b.decide(p)
			r := <-b.Logs()
			clear(data) // the source uses its memory again
			if got := r.String(); got != c.want {
				t.Errorf("logged as\n%s, want\n%s", got, c.want)
			}
			if r.Level != 6 {
				t.Errorf("level %d, want 6", r.Level)
			}
		})
	}
}

func owner(uid, gid uint32) func(*capture.Packet) {
	return func(p *capture.Packet) { p.Owned, p.UID, p.GID = true, uid, gid }
}

// FuzzLogRecord: no packet makes a line of ours end the program.
func FuzzLogRecord(f *testing.F) {
	f.Add([]byte{0x45, 19: 0}, uint32(20))
	f.Add([]byte{0x60, 6: 0x2c, 47: 0}, uint32(48))
	f.Fuzz(func(t *testing.T, data []byte, length uint32) {
		p := capture.Packet{Length: length, Data: data}
		if !p.Decode(data) {
			return
		}
		r := newLogRecord(&logTarget{flags: logTCPSequence | logTCPOptions | logIPOptions | logUID}, &p)
		if s := r.String(); !strings.HasPrefix(s, "IN= OUT= SRC=") {
			t.Errorf("%x logged as %s", data, s)
		}
	})
}
