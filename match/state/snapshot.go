package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"recentfs/match/jiffies"
	"recentfs/match/recent"
)

// preface is the start of a snapshot. Its numbers are in the byte order of the
// machine, as those of the image after it. After the image comes the CRC-32C of all
// before, in 4 bytes.
type preface struct {
	Magic   [8]byte
	Version uint32
	HZ      uint32
	Jiffies uint64 // when it was made
	Wall    int64  // the same moment, in nanoseconds since 1970
}

const (
	magic        = "recentdb"
	version      = 1
	savedSuffix  = ".snapshot"
	beforeSuffix = "~" // of the snapshot before the last one
	newSuffix    = ".new"
	// oldest is the age of the oldest stamp, in ticks: it stays that old. The kernel
	// takes no stamp of this age for a new one.
	oldest = 1 << 31
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// path is where a table's snapshot is.
func (d *Dir) path(table string) string { return filepath.Join(d.saved, table+savedSuffix) }

// Save writes a snapshot of each table that has changed since its last one, or whose
// last one is not there any more. An error
// of one does not keep the others from being saved.
func (d *Dir) Save(tables []*recent.Table) error {
	var errs []error
	for _, t := range tables {
		is := change{t.ID(), t.Changes()}
		if _, err := os.Lstat(d.path(t.Name())); err == nil && d.written[t.Name()] == is {
			continue
		}
		changes, err := d.save(t)
		switch {
		case err == nil:
			d.written[t.Name()] = change{t.ID(), changes}
		case !errors.Is(err, unix.EIO): // flushed or gone meanwhile: the next Save knows
			errs = append(errs, fmt.Errorf("snapshot of table %s: %w", t.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// save writes a snapshot. It takes the place of the last one when it is on the disk.
// The last one stays as the one before it.
func (d *Dir) save(t *recent.Table) (changes uint64, err error) {
	if err := makeLast(d.saved, filepath.Dir(d.saved)); err != nil { // it may have gone
		return 0, err
	}
	path := d.path(t.Name())
	// A process that was killed may have left one.
	if err := os.Remove(path + newSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	file, err := create(path+newSuffix, os.O_WRONLY)
	if err != nil {
		return 0, err
	}
	changes, err = d.write(file, t)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return 0, errors.Join(err, os.Remove(path+newSuffix))
	}
	if err := os.Rename(path, path+beforeSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	if err := os.Rename(path+newSuffix, path); err != nil {
		return 0, err
	}
	return changes, syncDir(d.saved)
}

func (d *Dir) write(file io.Writer, t *recent.Table) (changes uint64, err error) {
	sum := crc32.New(castagnoli)
	w := bufio.NewWriterSize(io.MultiWriter(file, sum), 256<<10)
	start := preface{Magic: [8]byte([]byte(magic)), Version: version, HZ: d.clock.HZ(), Jiffies: uint64(d.clock.Now()), Wall: d.now().UnixNano()}
	if err := binary.Write(w, binary.NativeEndian, start); err != nil {
		return 0, err
	}
	if changes, err = t.WriteImage(w); err != nil {
		return 0, err
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return changes, binary.Write(file, binary.NativeEndian, sum.Sum32())
}

// syncDir waits until the names in a directory are on the disk.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// restore makes a region of a snapshot. It also returns what a stamp of it is now.
func (d *Dir) restore(path string) (recent.Mapping, func(jiffies.Jiffies) jiffies.Jiffies, error) {
	file, info, err := openFile(path, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	m, start, err := d.read(file, info.Size())
	if err != nil {
		setAside(path, err, d.warn)
		return nil, nil, os.ErrNotExist // it is said
	}
	return restored{m, path}, d.mover(start), nil
}

// read reads a snapshot into a new region.
func (d *Dir) read(file io.Reader, length int64) (_ recent.Mapping, start preface, err error) {
	sum := crc32.New(castagnoli)
	r := io.TeeReader(bufio.NewReaderSize(file, 256<<10), sum)
	if err := binary.Read(r, binary.NativeEndian, &start); err != nil {
		return nil, start, fmt.Errorf("its start: %w", err)
	}
	switch {
	case string(start.Magic[:]) != magic:
		return nil, start, fmt.Errorf("it begins with %q", start.Magic[:])
	case start.Version != version:
		return nil, start, fmt.Errorf("its version is %d: this program knows version %d", start.Version, version)
	case start.HZ == 0:
		return nil, start, errors.New("its clock has no ticks")
	}
	var header [recent.ImageHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, start, fmt.Errorf("its header: %w", err)
	}
	size, image, err := recent.ImageSizes(header[:])
	if err != nil {
		return nil, start, err
	}
	if want := uint64(binary.Size(start)) + image + 4; uint64(length) != want {
		return nil, start, fmt.Errorf("it has %d bytes, not %d", length, want)
	}
	m, err := d.live.Make(size)
	if err != nil {
		return nil, start, err
	}
	if err := fill(m, header[:], image, r, sum.Sum32); err != nil {
		m.Release()
		return nil, start, err
	}
	return m, start, nil
}

// fill fills a region, and checks the checksum at the end.
func fill(m recent.Mapping, header []byte, image uint64, r io.Reader, sum func() uint32) error {
	if _, err := m.Reserve(image); err != nil {
		return err
	}
	copy(m.Bytes(), header)
	if _, err := io.ReadFull(r, m.Bytes()[len(header):image]); err != nil {
		return err
	}
	is := sum()
	var want uint32
	if err := binary.Read(r, binary.NativeEndian, &want); err != nil {
		return err
	}
	if is != want {
		return errors.New("its checksum is wrong")
	}
	return nil
}

// restored is a region that was made of a snapshot.
type restored struct {
	recent.Mapping
	path string
}

// SetAside implements recent.Mapping.
func (m restored) SetAside(why error) {
	setAside(m.path, why, func(string) {})
}

// mover says what a stamp of a snapshot is by the clock of this boot: as old as it
// was, and older by the time since. Time that the wall clock went back is none.
func (d *Dir) mover(start preface) func(jiffies.Jiffies) jiffies.Jiffies {
	since := max(0, d.now().Sub(time.Unix(0, start.Wall)))
	now, hz := d.clock.Now(), d.clock.HZ()
	return func(stamp jiffies.Jiffies) jiffies.Jiffies {
		ticks := jiffies.Jiffies(start.Jiffies).Sub(stamp)
		if ticks >= oldest {
			return now - oldest
		}
		age := jiffies.Duration(max(ticks, 0), start.HZ) + since
		return now - jiffies.Jiffies(min(jiffies.Ticks(age, hz), oldest))
	}
}
