package daemon

import (
	"fmt"

	"recentfs/capture/nfqueue"
)

// What the command line says of Config.Queue.
const (
	DefaultQueueLength = nfqueue.DefaultLength
	DefaultQueueBuffer = Size(nfqueue.DefaultBuffer)
	LeastQueueBuffer   = Size(nfqueue.LeastBuffer)
	MostQueueBuffer    = Size(nfqueue.MostBuffer)
)

// overloadFlags are the flags that say what becomes of an overload, but for those with
// their default.
func overloadFlags(c Config) (text string) {
	queue, usual := c.Queue.OrDefaults(), nfqueue.Options{}.OrDefaults()
	if queue.Length != usual.Length {
		text += fmt.Sprintf(" --queue-length %d", queue.Length)
	}
	if queue.Buffer != usual.Buffer {
		text += fmt.Sprintf(" --queue-buffer %v", Size(queue.Buffer))
	}
	if queue.Accept {
		text += " --on-overload accept"
	}
	if c.MaxMemory > 0 {
		text += fmt.Sprintf(" --max-memory %v", c.MaxMemory)
	}
	if text != "" {
		text = ";" + text
	}
	return text
}
