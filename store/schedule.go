package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/ipdc/ipdc/jobspec"
)

// PutSchedule inserts or replaces a schedule by its id.
func (tx *Tx) PutSchedule(s jobspec.Schedule) error {
	record, err := encode(s)
	if err == nil {
		err = tx.put(scheduleTable, s.ID.String(), s.Tenant, s.Name, record)
	}
	if err != nil {
		return fmt.Errorf("put schedule %s: %w", s.ID, err)
	}
	return nil
}

// Schedule returns a schedule, or an error of kind E_NOT_FOUND.
func (tx *Tx) Schedule(id jobspec.ScheduleID) (s jobspec.Schedule, err error) {
	var record []byte
	if err := tx.get([]any{&record}, "schedule "+id, "SELECT record FROM schedules WHERE id = ?", id.String()); err != nil {
		return s, err
	}
	return s, json.Unmarshal(record, &s)
}

// Schedules returns the schedules of a tenant, "" for all tenants, by name.
func (tx *Tx) Schedules(tenant string) ([]jobspec.Schedule, error) {
	return tx.schedules("? = '' OR tenant = ?", tenant, tenant)
}

// FindSchedules returns those that a tenant may mean: of this id, a beginning
// of it, or this name.
func (tx *Tx) FindSchedules(tenant, ref string) ([]jobspec.Schedule, error) {
	return tx.schedules("tenant = ? AND (name = ? OR length(?) >= ? AND substr(id, 1, length(?)) = lower(?))", tenant, ref, ref, minPrefix, ref, ref)
}

func (tx *Tx) schedules(where string, args ...any) (list []jobspec.Schedule, err error) {
	var record []byte
	err = tx.each([]any{&record}, func() error {
		var s jobspec.Schedule
		err := json.Unmarshal(record, &s)
		list = append(list, s)
		return err
	}, "SELECT record FROM schedules WHERE "+where+" ORDER BY tenant, name, id", args...)
	if err != nil {
		return nil, fmt.Errorf("list schedules: %w", err)
	}
	return list, nil
}

// DeleteSchedule removes a schedule with its history; without one it does nothing.
func (tx *Tx) DeleteSchedule(id jobspec.ScheduleID) error {
	if err := tx.exec("DELETE FROM schedules WHERE id = ?", id.String()); err != nil {
		return fmt.Errorf("delete schedule %s: %w", id, err)
	}
	return nil
}

// AddInstant inserts an instant of a schedule. One that is there already is
// refused with E_CONFLICT: nothing ever makes it a second time.
func (tx *Tx) AddInstant(i jobspec.Instant) error {
	_, ok, err := tx.Instant(i.Schedule, i.Kind, i.Slot)
	if err == nil && ok {
		err = jobspec.KindConflict.Errorf("instant %s of schedule %s is recorded already", i.Key(), i.Schedule)
	}
	if err != nil {
		return err
	}
	return tx.PutInstant(i)
}

// PutInstant inserts or replaces an instant.
func (tx *Tx) PutInstant(i jobspec.Instant) error {
	record, err := encode(i)
	if err == nil {
		err = tx.put(instantTable, i.Schedule.String(), string(i.Kind), i.Slot, flag(i.State.Live()), record)
	}
	if err != nil {
		return fmt.Errorf("put instant %s: %w", i.Key(), err)
	}
	return nil
}

// Instant returns one instant; ok is false when there is none.
func (tx *Tx) Instant(id jobspec.ScheduleID, kind jobspec.InstantKind, slot int64) (i jobspec.Instant, ok bool, err error) {
	list, err := tx.instants("schedule = ? AND kind = ? AND slot = ?", id.String(), string(kind), slot)
	if err != nil || len(list) == 0 {
		return i, false, err
	}
	return list[0], true, nil
}

// LiveInstants returns the instants of a schedule that are not at their end,
// the earliest first.
func (tx *Tx) LiveInstants(id jobspec.ScheduleID) ([]jobspec.Instant, error) {
	return tx.instantsBy(" INDEXED BY instants_live", "schedule = ? AND live = 1 ORDER BY record ->> 'at', kind, slot", id.String())
}

// InstantsAfter returns those of a kind whose slot is greater, the least first.
func (tx *Tx) InstantsAfter(id jobspec.ScheduleID, kind jobspec.InstantKind, slot int64) ([]jobspec.Instant, error) {
	return tx.instants("schedule = ? AND kind = ? AND slot > ? ORDER BY slot", id.String(), string(kind), slot)
}

// InstantsAcross returns those of the clock that begin at or before a time and
// stand for later ones, too.
func (tx *Tx) InstantsAcross(id jobspec.ScheduleID, t time.Time) ([]jobspec.Instant, error) {
	return tx.instants("schedule = ? AND kind = ? AND slot <= ? AND record ->> 'until' > ?", id.String(), string(jobspec.InstantTime), t.Unix(), t.UTC().Format(time.RFC3339))
}

// History returns the instants of a schedule, the newest first: at most limit
// of them, 0 for all, behind the first skip.
func (tx *Tx) History(id jobspec.ScheduleID, limit, skip int) ([]jobspec.Instant, error) {
	if limit <= 0 {
		limit = math.MaxInt32
	}
	return tx.instants("schedule = ? ORDER BY record ->> 'at' DESC, kind, slot DESC LIMIT ? OFFSET ?", id.String(), limit, skip)
}

func (tx *Tx) instants(where string, args ...any) ([]jobspec.Instant, error) {
	return tx.instantsBy("", where, args...)
}

// instantsBy names an index where SQLite would read a whole history.
func (tx *Tx) instantsBy(index, where string, args ...any) (list []jobspec.Instant, err error) {
	var record []byte
	err = tx.each([]any{&record}, func() error {
		var i jobspec.Instant
		err := json.Unmarshal(record, &i)
		list = append(list, i)
		return err
	}, "SELECT record FROM instants"+index+" WHERE "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list instants: %w", err)
	}
	return list, nil
}

// DeleteInstant removes an instant; without it nothing happens.
func (tx *Tx) DeleteInstant(i jobspec.Instant) error {
	err := tx.exec("DELETE FROM instants WHERE schedule = ? AND kind = ? AND slot = ?", i.Schedule.String(), string(i.Kind), i.Slot)
	if err != nil {
		return fmt.Errorf("delete instant %s: %w", i.Key(), err)
	}
	return nil
}

// PruneInstants keeps the newest instants of a kind, so many, and returns the
// greatest slot that went.
func (tx *Tx) PruneInstants(id jobspec.ScheduleID, kind jobspec.InstantKind, keep int) (gone int64, err error) {
	err = tx.get([]any{&gone}, "instant", "SELECT slot FROM instants WHERE schedule = ? AND kind = ? AND live = 0 ORDER BY slot DESC LIMIT 1 OFFSET ?", id.String(), string(kind), keep)
	if errors.Is(err, jobspec.KindNotFound.Error()) {
		return 0, nil
	}
	if err == nil {
		err = tx.exec("DELETE FROM instants WHERE schedule = ? AND kind = ? AND live = 0 AND slot <= ?", id.String(), string(kind), gone)
	}
	if err != nil {
		return 0, fmt.Errorf("prune instants of schedule %s: %w", id, err)
	}
	return gone, nil
}
