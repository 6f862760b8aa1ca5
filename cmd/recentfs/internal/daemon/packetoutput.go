package daemon

import (
	"context"
	"fmt"
	"io"
	"log/syslog"

	"recentfs/cmd/recentfs/internal/helper"
)

// PacketOutputs are the values of Config.LogPackets: where LOG targets write to.
var PacketOutputs = []string{"stderr", kmsg, "syslog"}

const kmsg = "kmsg"

// openPacketOutput opens where LOG targets write to, and holds it until ctx is done.
// Standard error needs no output of its own: there the lines are among our others.
func (s *Server) openPacketOutput(ctx context.Context, ready func()) error {
	var w io.WriteCloser
	var err error
	switch s.config.LogPackets {
	case kmsg:
		w, err = s.host.Open(helper.KernelLog)
	case "syslog":
		w, err = dialSyslog("", "") // wherever the syslog daemon listens
	default:
		ready()
		<-ctx.Done()
		return nil
	}
	if err != nil {
		return fmt.Errorf("--log-packets %s: %w: log packets to stderr instead", s.config.LogPackets, err)
	}
	s.packets = NewLogWriter(w)
	ready()
	<-ctx.Done()
	if !s.packets.Close() {
		return nil // a syslog daemon that is stuck would make us wait
	}
	return w.Close()
}

// syslogWriter takes lines as /dev/kmsg does: "<LEVEL>TEXT\n".
type syslogWriter struct{ *syslog.Writer }

// dialSyslog finds the syslog daemon. The lines get the facility of the kernel, and
// go where its lines about packets go.
func dialSyslog(network, address string) (syslogWriter, error) {
	w, err := syslog.Dial(network, address, syslog.LOG_KERN|syslog.LOG_WARNING, "recentfs")
	if err != nil {
		return syslogWriter{}, fmt.Errorf("no syslog daemon listens at /dev/log: %w", err)
	}
	return syslogWriter{w}, nil
}

func (w syslogWriter) Write(line []byte) (int, error) {
	if len(line) < 3 || line[0] != '<' {
		return len(line), w.Warning(string(line)) // LogWriter's own
	}
	levels := [...]func(string) error{w.Emerg, w.Alert, w.Crit, w.Err, w.Warning, w.Notice, w.Info, w.Debug}
	return len(line), levels[line[1]&7](string(line[3:]))
}
