//! Fills an empty table by COPY. The server writes whole pages, whereas INSERT logs each row.
//!
//! Live commits do not use COPY. The driver sends the end of a COPY in a separate packet and does not set TCP_NODELAY,
//! so each COPY waits 40 ms for a delayed acknowledgement (Nagle's algorithm, RFC 1122, 4.2.3). For one COPY a table
//! that is negligible.

use readcast_core::{TableSpec, Value};
use sqlx::encode::IsNull;
use sqlx::postgres::{PgArgumentBuffer, PgCopyIn};
use sqlx::{Encode, PgConnection, Postgres};

use super::connection::at_rows;
use super::sql::column_list;
use crate::store::StoreError;

/// The header of a binary COPY: signature, flags, length of the header extension (PostgreSQL documentation, COPY,
/// binary format).
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The trailer of a binary COPY, in place of a row's number of columns.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// The first byte of a binary `jsonb`.
const JSONB_VERSION: u8 = 1;
/// The size of a message in bytes.
const MESSAGE_BYTES: usize = 128 << 10;

/// A COPY in progress.
pub(super) struct Copy<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    unsent: PgArgumentBuffer,
    table: &'c TableSpec,
}

impl<'c> Copy<'c> {
    /// Starts a COPY into `physical`, the physical table of `table`. This transaction must have truncated the table, so
    /// that the rows can be written frozen.
    pub(super) async fn begin(
        connection: &'c mut PgConnection,
        table: &'c TableSpec,
        physical: &str,
    ) -> Result<Self, StoreError> {
        let text = format!("COPY {physical} ({}) FROM STDIN (FORMAT binary, FREEZE)", column_list(table.columns()));
        let copy = connection.copy_in_raw(&text).await.map_err(at_rows(table))?;
        let mut unsent = PgArgumentBuffer::default();
        unsent.extend_from_slice(HEADER);
        Ok(Self { copy, unsent, table })
    }

    /// Adds a row. `values` are in the order of the table's columns.
    pub(super) async fn add(&mut self, values: impl Iterator<Item = &Value>) -> Result<(), StoreError> {
        let columns = self.table.columns().len() as i16;
        self.unsent.extend_from_slice(&columns.to_be_bytes());
        for value in values {
            put(&mut self.unsent, value).map_err(at_rows(self.table))?;
        }
        if self.unsent.len() >= MESSAGE_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Finishes the COPY. Returns the number of rows written.
    pub(super) async fn end(mut self) -> Result<u64, StoreError> {
        self.unsent.extend_from_slice(&TRAILER);
        self.send().await?;
        self.copy.finish().await.map_err(at_rows(self.table))
    }

    /// Aborts the COPY, which also fails the transaction.
    pub(super) async fn abort(self) -> Result<(), StoreError> {
        self.copy.abort("the load was aborted").await.map_err(at_rows(self.table))
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        self.copy.send(self.unsent.as_slice()).await.map_err(at_rows(self.table))?;
        self.unsent.clear();
        Ok(())
    }
}

/// Appends the length of a value, or -1 for NULL, and its binary form.
fn put(buffer: &mut PgArgumentBuffer, value: &Value) -> sqlx::Result<()> {
    let start = buffer.len();
    buffer.extend_from_slice(&(-1_i32).to_be_bytes());
    let encoded = match value {
        Value::Null => Ok(IsNull::Yes),
        Value::Text(text) => Encode::<Postgres>::encode_by_ref(text, buffer),
        Value::Bool(truth) => Encode::<Postgres>::encode_by_ref(truth, buffer),
        Value::I32(number) => Encode::<Postgres>::encode_by_ref(number, buffer),
        Value::I64(number) => Encode::<Postgres>::encode_by_ref(number, buffer),
        Value::F64(number) => Encode::<Postgres>::encode_by_ref(number, buffer),
        Value::Decimal(number) => Encode::<Postgres>::encode_by_ref(&number.as_rust_decimal(), buffer),
        Value::Timestamp(time) => Encode::<Postgres>::encode_by_ref(&time.as_datetime(), buffer),
        Value::Date(date) => Encode::<Postgres>::encode_by_ref(date, buffer),
        Value::Uuid(uuid) => Encode::<Postgres>::encode_by_ref(uuid, buffer),
        Value::Bytes(bytes) => Encode::<Postgres>::encode_by_ref(bytes, buffer),
        Value::Json(json) => {
            buffer.push(JSONB_VERSION);
            buffer.extend_from_slice(json.as_str().as_bytes());
            Ok(IsNull::No)
        }
    };
    if let IsNull::No = encoded.map_err(sqlx::Error::Encode)? {
        let length = buffer.len() - start - size_of::<i32>();
        let length = i32::try_from(length).map_err(|_| sqlx::Error::Encode("a value is longer than 2 GiB".into()))?;
        buffer[start..start + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
