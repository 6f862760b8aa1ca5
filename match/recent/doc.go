// Package recent is the kernel's xt_recent: tables of recently seen addresses,
// the rules that match packets against them, and the file protocol that reads
// and writes them.
//
// Two compatibilities share one engine. Classic is the module as it was around
// Linux 3.0, Modern is the module of Linux 6.11 and later. Where the two differ,
// the difference is a value that Params computes.
//
// Functions name the kernel function that they follow. It is in
// net/netfilter/xt_recent.c unless another file is named. Three defects of the
// kernel are not followed: an entry that a packet is about to update is never
// reaped, a read after a seek does not repeat the last line, and with 65536
// stamps an entry's newest stamp is never looked for in front of its first.
//
// # Locks
//
// The order is Registry.mu or Cursor.mu, then Table.copying, then Table.mu. Module.mu
// is taken last. No lock is held across an Event. A Batch holds a Table.mu until End.
// Table.Chattr calls its argument under Table.mu.
//
// # The format of a region
//
// A table is one region of memory: a header, and slots with their stamps. It holds
// no pointer. Numbers are in the byte order of the machine. Bytes that are not named
// are 0. A region of another version has another format.
//
// The header has 384 bytes:
//
//	offset  size
//	     0     8  magic: "recentfs"
//	     8     4  version: 2
//	    12     4  limit: the most addresses, ip_list_tot
//	    16     4  ring: the most stamps of an address, 1 to 65536
//	    20     4  stride: bytes from one slot to the next, 32 + 8 * ring
//	    24     4  places of the index: a power of two, at least 2 * limit
//	    28     4  entries: addresses in the table
//	    32     4  used: slots 1 to used have been in use at some time
//	    36     4  free: the first slot of the free list, 0: none
//	    40     8  sequence: how often the table was locked to be changed
//	    48    16  key: the secret of the hash
//	    64    16  mask: laid over the address of a packet
//	    80     8  id of the table, 1 or more
//	    88    24  two times permission bits, uid and gid of the table's file
//	   112     4  which of the two is valid: 0 or 1
//	   116   200  name: up to a NUL, which is there
//	   316     4  CRC-32C of the header, with 0 for itself and for all that changes
//	   320    64  the change that is under way, if the first two differ:
//	     0     4  how many changes have begun
//	     4     4  how many are done
//	     8     4  the slot that becomes an entry, or gets a stamp, 0: none
//	    12     4  a slot that becomes free, 0: none
//	    16     4  the place of the ring that gets a stamp; ring: the slot gets the
//	              stamps that are in the ring of slot 0
//	    24     8  the stamp
//	    32    24  the first bytes of the slot, up to older
//
// The slots follow. There are limit + 1 of them.
// Slot 0 is the head of the LRU list: its older is the most recently seen entry,
// its newer the least, and the rest of its first 32 bytes is 0. Its ring has
// the stamps of the last address that was merged, which mean nothing after that.
// Each other slot is an entry, or free, or was never in use:
//
//	offset  size
//	     0    16  address in network byte order; IPv4 has the first four bytes
//	    16     2  nstamps: the stamps that are there, at most 65535
//	    18     2  index: the place after the newest stamp, 1 to ring, modulo 65536
//	    20     1  family: 2 for IPv4, 10 for IPv6, 0 for a slot that is free
//	    21     1  ttl: as last seen, 0 for any
//	    22     2  0
//	    24     4  older: the next entry towards the least recently seen, 0: the head
//	    28     4  newer: the next entry towards the most recently seen, 0: the head;
//	              of a free slot the next one of the free list, 0: none
//	    32     -  ring times 8 bytes: stamps in jiffies
//
// A free slot has nothing else that means anything, nor has the ring after its
// first nstamps places.
//
// # What outlives a process
//
// A region may be in memory that outlives the process: see Memory. If a process is
// killed, the next one finishes the change that was under way, checks each slot, and
// makes anew what follows from the slots: entries, the free list, and the LRU list
// where it is not whole. The index, which leads from an address to its slot, is
// never kept. So each operation is either not there or wholly there. A test kills a
// process after each instruction of each kind of operation.
package recent
