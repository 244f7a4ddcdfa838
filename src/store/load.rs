//! Loads a building generation: the rows of a folded log, streamed into tables that nobody reads.

use readcast_core::{Definition, Key, Row};
use tokio::sync::mpsc;

use super::{Commit, Generation, StoreError};

/// The maximum number of pieces in the stream.
const PIECES: usize = 4;

/// The complete content of a generation.
pub struct Load<'a> {
    /// The definition that builds the generation.
    pub definition: &'a Definition,
    /// The generation to load. It is building and in the phase `load`.
    pub generation: Generation,
    /// The checkpoints, dead letters and ledger that belong to the rows. Its changes are empty.
    pub commit: &'a Commit,
    /// The rows of all tables.
    pub rows: RowStream,
}

/// Rows of one table, ordered by key. The number is the index of the table among the projection's tables.
pub type RowPiece = (usize, Vec<(Key, Row)>);

enum Message {
    Rows(RowPiece),
    End,
    Failed(String),
}

/// A stream of rows: table by table, each table's rows ordered by key, each row once.
pub struct RowStream(mpsc::Receiver<Message>);

/// The sending end of a [`RowStream`], for a thread that makes rows.
pub struct RowSink(mpsc::Sender<Message>);

/// The two ends of a new stream of rows.
pub fn row_stream() -> (RowSink, RowStream) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (RowSink(sender), RowStream(receiver))
}

impl RowSink {
    /// Sends rows. Blocks while the stream is full. Returns `false` if the receiver is gone.
    pub fn send(&self, piece: RowPiece) -> bool {
        self.0.blocking_send(Message::Rows(piece)).is_ok()
    }

    /// Ends the stream, with an error if the rows are incomplete. A stream that ends without this call has failed as
    /// well.
    pub fn end(self, outcome: Result<(), String>) {
        // An error of `send` means that the load has failed already.
        let _ = self.0.blocking_send(outcome.map_or_else(Message::Failed, |()| Message::End));
    }
}

impl RowStream {
    /// The next rows. `None` after the last.
    pub async fn next(&mut self) -> Result<Option<RowPiece>, StoreError> {
        let refused = |reason: String| StoreError::Refused { doing: "folding the log".into(), reason };
        match self.0.recv().await {
            Some(Message::Rows(piece)) => Ok(Some(piece)),
            Some(Message::End) => Ok(None),
            Some(Message::Failed(reason)) => Err(refused(reason)),
            None => Err(refused("the stream ended before all rows were made".into())),
        }
    }
}
