//! The rows of a table that is empty, by COPY: the server fills its pages with them a page at a time, where INSERT logs
//! each row by itself.
//!
//! Not for what is written live: the driver sends what ends a COPY by itself and does not set TCP_NODELAY, so each COPY
//! waits for an acknowledgement that its peer holds back for 40 ms (Nagle's algorithm and delayed acknowledgements, RFC
//! 1122, 4.2.3). For one COPY a table that does not count.

use readcast_core::{TableSpec, Value};
use sqlx::encode::IsNull;
use sqlx::postgres::{PgArgumentBuffer, PgCopyIn};
use sqlx::{Encode, PgConnection, Postgres};

use super::connection::at_rows;
use super::sql::column_list;
use crate::store::StoreError;

/// What a binary COPY begins with: signature, flags, length of a header extension (PostgreSQL documentation, COPY, binary
/// format).
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with, in the place of a row's number of columns.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// What the binary form of a `jsonb` begins with.
const JSONB_VERSION: u8 = 1;
/// How many bytes are sent at once.
const PIECE: usize = 128 << 10;

/// A COPY under way.
pub(super) struct Copy<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    unsent: PgArgumentBuffer,
    table: &'c TableSpec,
}

impl<'c> Copy<'c> {
    /// Begins to copy rows of `table` to its physical table `physical`, which this transaction has emptied: so they can be
    /// frozen as they are written.
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

    /// Adds a row, its values in the order of the table's columns.
    pub(super) async fn add(&mut self, values: impl Iterator<Item = &Value>) -> Result<(), StoreError> {
        let columns = self.table.columns().len() as i16;
        self.unsent.extend_from_slice(&columns.to_be_bytes());
        for value in values {
            put(&mut self.unsent, value).map_err(at_rows(self.table))?;
        }
        if self.unsent.len() >= PIECE {
            self.send().await?;
        }
        Ok(())
    }

    /// Ends it. How many rows it wrote.
    pub(super) async fn end(mut self) -> Result<u64, StoreError> {
        self.unsent.extend_from_slice(&TRAILER);
        self.send().await?;
        self.copy.finish().await.map_err(at_rows(self.table))
    }

    /// Gives it up: nothing of it stays, and its transaction has failed.
    pub(super) async fn abort(self) -> Result<(), StoreError> {
        self.copy.abort("given up").await.map_err(at_rows(self.table))
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        self.copy.send(self.unsent.as_slice()).await.map_err(at_rows(self.table))?;
        self.unsent.clear();
        Ok(())
    }
}

/// A value's length, or -1 for NULL, and its binary form.
fn put(buffer: &mut PgArgumentBuffer, value: &Value) -> sqlx::Result<()> {
    let begins = buffer.len();
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
        let length = buffer.len() - begins - size_of::<i32>();
        let length = i32::try_from(length).map_err(|_| sqlx::Error::Encode("a value is longer than 2 GiB".into()))?;
        buffer[begins..begins + size_of::<i32>()].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
