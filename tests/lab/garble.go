package lab

import "encoding/binary"

// Garble writes over memory as a fuzz target's data says: each three bytes are a place,
// counted through all pieces of the memory, and what is there then.
func Garble(data []byte, memory ...[]byte) {
	size := 0
	for _, m := range memory {
		size += len(m)
	}
	for ; len(data) >= 3 && size > 0; data = data[3:] {
		at := int(binary.LittleEndian.Uint16(data)) % size
		for _, m := range memory {
			if at < len(m) {
				m[at] = data[2]
				break
			}
			at -= len(m)
		}
	}
}
