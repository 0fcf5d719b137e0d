package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// table describes the columns of a table that are sealed by its last column,
// sum; the first ones are the primary or unique key.
type table struct {
	name string
	key  []string
	cols []string
}

var (
	metaTable           = table{"meta", []string{"key"}, []string{"value"}}
	jobTable            = table{"jobs", []string{"id"}, []string{"tenant", "name", "state", "live", "labels", "record"}}
	planTable           = table{"plans", []string{"job"}, []string{"record"}}
	attemptTable        = table{"attempts", []string{"job", "task", "try"}, []string{"live", "token", "record"}}
	eventTable          = table{"events", []string{"job", "seq"}, []string{"record"}}
	rememberedTable     = table{"remembered", []string{"key"}, []string{"job", "created", "record"}}
	idempotencyTable    = table{"idempotency", []string{"tenant", "key"}, []string{"job", "spec"}}
	tokenTable          = table{"tokens", []string{"name"}, []string{"hash", "created"}}
	handedTable         = table{"handed", []string{"tenant", "key"}, []string{"job", "name", "live", "record"}}
	holdingTable        = table{"holdings", []string{"name"}, []string{"record"}}
	scheduleTable       = table{"schedules", []string{"id"}, []string{"tenant", "name", "record"}}
	instantTable        = table{"instants", []string{"schedule", "kind", "slot"}, []string{"live", "record"}}
	datasetTable        = table{"datasets", []string{"tenant", "name"}, []string{"record"}}
	datasetVersionTable = table{"dataset_versions", []string{"tenant", "name", "version"}, []string{"record"}}
	datasetSeenTable    = table{"dataset_seen", []string{"owner", "name"}, []string{"record"}}
	deliveryTable       = table{"deliveries", []string{"job", "n"}, []string{"due", "record"}}

	tables = []table{metaTable, jobTable, planTable, attemptTable, eventTable, rememberedTable, idempotencyTable, tokenTable, handedTable, holdingTable,
		scheduleTable, instantTable, deliveryTable, datasetTable, datasetVersionTable, datasetSeenTable}
)

func (t table) sealed() []string { return append(append([]string(nil), t.key...), t.cols...) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal returns the checksum of a row's values, which are strings and int64s.
func seal(values []any) int64 {
	var b []byte
	for _, v := range values {
		switch v := v.(type) {
		case string:
			b = binary.BigEndian.AppendUint64(append(b, 's'), uint64(len(v)))
			b = append(b, v...)
		case int64:
			b = binary.BigEndian.AppendUint64(append(b, 'i'), uint64(v))
		default:
			panic(fmt.Sprintf("store: cannot seal a %T", v))
		}
	}
	return int64(crc32.Checksum(b, castagnoli))
}

// checkPages verifies the structure of the file, its indexes included: a row
// that only an index has lost would be forgotten in silence.
func checkPages(ctx context.Context, db *sql.DB) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return errors.New(verdict)
	}
	return nil
}

// checkRows verifies what the rows hold, and that no event is missing.
func checkRows(ctx context.Context, db *sql.DB) error {
	for _, t := range tables {
		if err := checkSeals(ctx, db, t); err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
	}
	var gaps int
	row := db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY job HAVING count(*) <> max(seq))")
	if err := row.Scan(&gaps); err != nil {
		return err
	}
	if gaps > 0 {
		return fmt.Errorf("%d jobs with missing events", gaps)
	}
	return nil
}

func checkSeals(ctx context.Context, db *sql.DB, t table) error {
	cols := t.sealed()
	rows, err := db.QueryContext(ctx, "SELECT "+strings.Join(cols, ", ")+", sum FROM "+t.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	values, dest := make([]any, len(cols)+1), make([]any, len(cols)+1)
	for i := range dest {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if sum := values[len(cols)]; sum != seal(values[:len(cols)]) {
			return fmt.Errorf("the row of %v does not match its checksum", values[:len(t.key)])
		}
	}
	return rows.Err()
}
