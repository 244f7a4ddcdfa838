//! Encodes entries as bytes. The process that wrote a file reads it, so the encoding has no versions.
//!
//! [`take_entry`] accepts any bytes: it returns an entry or `None`, and takes no more memory than the bytes do.

use chrono::Datelike;
use readcast_core::{Cell, Cells, Date, Decimal, Json, RowChange, Timestamp, Uuid, Value};

use super::merge::{Entry, What};

/// The tags of what an entry does at its key.
mod what {
    pub(super) const CLEARED: u8 = 0;
    pub(super) const UPSERT: u8 = 1;
    pub(super) const UPDATE: u8 = 2;
    pub(super) const DELETE: u8 = 3;
}

/// The tags of what happens to a cell.
mod cell {
    pub(super) const NOTHING: u8 = 0;
    pub(super) const SET: u8 = 1;
    pub(super) const ADD: u8 = 2;
    pub(super) const MAX: u8 = 3;
    pub(super) const MIN: u8 = 4;
    pub(super) const APPEND: u8 = 5;
    pub(super) const NEWER: u8 = 6;
}

/// The tags of values.
mod value {
    pub(super) const NULL: u8 = 0;
    pub(super) const TEXT: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
    pub(super) const I32: u8 = 4;
    pub(super) const I64: u8 = 5;
    pub(super) const F64: u8 = 6;
    pub(super) const DECIMAL: u8 = 7;
    pub(super) const TIMESTAMP: u8 = 8;
    pub(super) const DATE: u8 = 9;
    pub(super) const UUID: u8 = 10;
    pub(super) const JSON: u8 = 11;
    pub(super) const BYTES: u8 = 12;
}

pub(super) fn put_cleared(out: &mut Vec<u8>, key: &[Value]) {
    put_values(out, key);
    out.push(what::CLEARED);
}

pub(super) fn put_row(out: &mut Vec<u8>, key: &[Value], change: &RowChange) {
    put_values(out, key);
    match change {
        RowChange::Upsert(cells) => put_cells(out, what::UPSERT, cells),
        RowChange::Update(cells) => put_cells(out, what::UPDATE, cells),
        RowChange::Delete => out.push(what::DELETE),
    }
}

fn put_cells(out: &mut Vec<u8>, tag: u8, cells: &Cells) {
    out.push(tag);
    put_count(out, cells.as_slice().len());
    for cell in cells.as_slice() {
        put_cell(out, cell.as_ref());
    }
}

fn put_cell(out: &mut Vec<u8>, cell: Option<&Cell>) {
    let (tag, value) = match cell {
        None => return out.push(cell::NOTHING),
        Some(Cell::Append(items)) => {
            out.push(cell::APPEND);
            put_count(out, items.len());
            return items.iter().for_each(|item| put_bytes(out, item.as_str().as_bytes()));
        }
        Some(Cell::Set(value)) => (cell::SET, value),
        Some(Cell::Add(value)) => (cell::ADD, value),
        Some(Cell::Max(value)) => (cell::MAX, value),
        Some(Cell::Min(value)) => (cell::MIN, value),
        Some(Cell::Newer(value)) => (cell::NEWER, value),
    };
    out.push(tag);
    put_value(out, value);
}

fn put_values(out: &mut Vec<u8>, values: &[Value]) {
    put_count(out, values.len());
    values.iter().for_each(|value| put_value(out, value));
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(value::NULL),
        Value::Text(text) => put_tagged(out, value::TEXT, text.as_bytes()),
        Value::Bool(truth) => out.push(if *truth { value::TRUE } else { value::FALSE }),
        Value::I32(number) => put_fixed(out, value::I32, number.to_le_bytes()),
        Value::I64(number) => put_fixed(out, value::I64, number.to_le_bytes()),
        Value::F64(number) => put_fixed(out, value::F64, number.to_le_bytes()),
        Value::Decimal(number) => put_fixed(out, value::DECIMAL, number.as_rust_decimal().serialize()),
        Value::Timestamp(time) => put_fixed(out, value::TIMESTAMP, time.as_micros().to_le_bytes()),
        Value::Date(date) => put_fixed(out, value::DATE, date.num_days_from_ce().to_le_bytes()),
        Value::Uuid(uuid) => put_fixed(out, value::UUID, uuid.into_bytes()),
        Value::Json(json) => put_tagged(out, value::JSON, json.as_str().as_bytes()),
        Value::Bytes(bytes) => put_tagged(out, value::BYTES, bytes),
    }
}

fn put_fixed<const N: usize>(out: &mut Vec<u8>, tag: u8, bytes: [u8; N]) {
    out.push(tag);
    out.extend_from_slice(&bytes);
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_bytes(out, bytes);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Writes a variable-length integer: seven bits in each byte, the lowest first. Every byte but the last has its highest bit
/// set.
fn put_count(out: &mut Vec<u8>, mut count: usize) {
    while count >= 0x80 {
        out.push(count as u8 | 0x80);
        count >>= 7;
    }
    out.push(count as u8);
}

/// Takes one entry off the front of `bytes`. `None` when they do not begin with one.
pub(super) fn take_entry(bytes: &mut &[u8]) -> Option<Entry> {
    let key = take_many(bytes, take_value)?;
    let what = match take_byte(bytes)? {
        what::CLEARED => What::Cleared,
        what::UPSERT => What::Row(RowChange::Upsert(take_cells(bytes)?)),
        what::UPDATE => What::Row(RowChange::Update(take_cells(bytes)?)),
        what::DELETE => What::Row(RowChange::Delete),
        _ => return None,
    };
    Some(Entry { key, what })
}

fn take_cells(bytes: &mut &[u8]) -> Option<Cells> {
    take_many(bytes, take_cell).map(Cells::from_places)
}

fn take_cell(bytes: &mut &[u8]) -> Option<Option<Cell>> {
    let of_value = match take_byte(bytes)? {
        cell::NOTHING => return Some(None),
        cell::APPEND => return Some(Some(Cell::Append(take_many(bytes, take_json)?))),
        cell::SET => Cell::Set,
        cell::ADD => Cell::Add,
        cell::MAX => Cell::Max,
        cell::MIN => Cell::Min,
        cell::NEWER => Cell::Newer,
        _ => return None,
    };
    Some(Some(of_value(take_value(bytes)?)))
}

fn take_value(bytes: &mut &[u8]) -> Option<Value> {
    Some(match take_byte(bytes)? {
        value::NULL => Value::Null,
        value::TEXT => Value::Text(take_text(bytes)?.to_owned()),
        value::FALSE => Value::Bool(false),
        value::TRUE => Value::Bool(true),
        value::I32 => Value::I32(i32::from_le_bytes(take_fixed(bytes)?)),
        value::I64 => Value::I64(i64::from_le_bytes(take_fixed(bytes)?)),
        value::F64 => Value::F64(f64::from_le_bytes(take_fixed(bytes)?)),
        value::DECIMAL => Value::Decimal(Decimal::from(rust_decimal::Decimal::deserialize(take_fixed(bytes)?))),
        value::TIMESTAMP => Value::Timestamp(Timestamp::from_micros(i64::from_le_bytes(take_fixed(bytes)?))?),
        value::DATE => Value::Date(Date::from_num_days_from_ce_opt(i32::from_le_bytes(take_fixed(bytes)?))?),
        value::UUID => Value::Uuid(Uuid::from_bytes(take_fixed(bytes)?)),
        value::JSON => Value::Json(take_json(bytes)?),
        value::BYTES => Value::Bytes(take_bytes(bytes)?.to_owned()),
        _ => return None,
    })
}

fn take_json(bytes: &mut &[u8]) -> Option<Json> {
    Json::parse(take_text(bytes)?).ok()
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(bytes)?).ok()
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = take_count(bytes)?;
    bytes.split_off(..count)
}

/// Takes a count, and that many items. An item takes at least one byte, so a count that exceeds the bytes is invalid.
fn take_many<T>(bytes: &mut &[u8], take: fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = take_count(bytes).filter(|count| *count <= bytes.len())?;
    let mut taken = Vec::with_capacity(count);
    for _ in 0..count {
        taken.push(take(bytes)?);
    }
    Some(taken)
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    let mut count = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = take_byte(bytes)?;
        count |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(count);
        }
    }
    None
}

fn take_fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    bytes.split_off_first().copied()
}
