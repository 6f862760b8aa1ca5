package service

import (
	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
)

// What Notify tells.
const (
	Ready    = systemd.SdNotifyReady
	Stopping = systemd.SdNotifyStopping
)

// Notify tells the service manager, if it listens.
func Notify(state string) {
	if _, err := systemd.SdNotify(false, state); err != nil {
		logrus.WithError(err).Warn("systemd was not told: " + state)
	}
}
