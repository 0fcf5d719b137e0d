// Package shuffle partitions, sorts, spills and merges pairs of bytes: what
// stands between the map and the reduce side of a map-reduce job. It runs inside
// containers, as part of cmd/ipdc-guest, and knows nothing of jobs.
//
//	c, err := shuffle.NewCollector(shuffle.Config{Kind: shuffle.Lines, Partitioner: shuffle.Hash(8), Memory: 128 << 20, Dir: spill})
//	err = c.ReadLines(stdoutOfTheMapper)
//	err = c.Finish(create) // create(j) makes the file of partition j's run
//	...
//	m, err := shuffle.OpenMerger(paths, shuffle.MergeConfig{Kind: shuffle.Lines, Partition: 3, Memory: 64 << 20, Dir: spill})
//	err = m.WriteLines(stdinOfTheReducer)
//
// Two kinds of pairs are known. Lines: a record is a whole line, sorted as
// LC_ALL=C sort does; its key, for the partition, is what stands before the
// first tab. Frames: a record is a key and a value, sorted by key, equal keys in
// the order in which they came.
//
// Invariants: a run's bytes depend on the pairs and their order only, never on
// memory, spills, timing or processors. Memory stays within what was given plus
// a few blocks. Keys and values are any bytes. A run that is cut or damaged is
// refused, never read as a shorter one.
//
// # Runs, format 1
//
// A run is a file of sorted records. Numbers of four and eight bytes are
// little-endian, a uvarint is encoding/binary's.
//
//	run    = "IPDCRUN1" kind block... end
//	kind   = 'L' (lines) or 'F' (frames)
//	block  = header payload           records of one partition
//	header = partition u32, records u32 (> 0), payload bytes u32,
//	         CRC-32C of the payload u32, CRC-32C of the 16 bytes before u32
//	record = uvarint key length + 1, or 0: the key of the record before, in the same block
//	         uvarint value length (lines: 0)
//	         key, value
//	         uvarint count (> 0): so many equal records one behind the other
//	end    = header with 0 records, payload: number of all records before u64
//
// Neighbours that are equal in key and value are one record with a count. A
// block ends with the record that brings its payload to 64 KiB or more. Both
// make a sequence of pairs have one encoding only. Partitions ascend; a run that
// a map task leaves has one, a spill has all.
//
// # Partitions
//
// Hash: FNV-1a 64 of the key, mixed by MurmurHash3's 64-bit finalizer, modulo
// the number of partitions. Range: the number of cuts that are not above the
// key as bytes.
package shuffle
