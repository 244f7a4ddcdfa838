//! A building generation, loaded: what the log was folded to, on its way into tables that nobody reads.

use readcast_core::{Definition, Key, Row};
use tokio::sync::mpsc;

use super::{Commit, Generation, StoreError};

/// How many pieces may be on their way.
const PIECES: usize = 4;

/// Everything that a generation is to hold.
pub struct Load<'a> {
    /// What builds it.
    pub definition: &'a Definition,
    /// Which generation. It is building, and in the phase `load`.
    pub generation: Generation,
    /// The checkpoints, dead letters and ledger that belong to the rows. Changes nothing by itself.
    pub commit: &'a Commit,
    /// The rows.
    pub rows: RowStream,
}

/// Some rows of the table with this place among the projection's tables, in the order of their keys.
pub type RowPiece = (usize, Vec<(Key, Row)>);

enum Message {
    Rows(RowPiece),
    End,
    Failed(String),
}

/// Rows, table by table, those of each in the order of their keys, each once.
pub struct RowStream(mpsc::Receiver<Message>);

/// The other end of a [`RowStream`], for a thread that makes rows.
pub struct RowSink(mpsc::Sender<Message>);

/// Two ends of a stream of rows.
pub fn row_stream() -> (RowSink, RowStream) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (RowSink(sender), RowStream(receiver))
}

impl RowSink {
    /// Sends some rows. `false` when nobody wants them any more. Blocks while enough are on their way.
    pub fn send(&self, piece: RowPiece) -> bool {
        self.0.blocking_send(Message::Rows(piece)).is_ok()
    }

    /// All rows were sent, or no more can be made. A stream that ends without this is a failure too.
    pub fn end(self, outcome: Result<(), String>) {
        // Nobody listens where the load has failed already.
        let _ = self.0.blocking_send(outcome.map_or_else(Message::Failed, |()| Message::End));
    }
}

impl RowStream {
    /// The next rows; `None` when all have come.
    pub async fn next(&mut self) -> Result<Option<RowPiece>, StoreError> {
        let refused = |reason: String| StoreError::Refused { doing: "folding the log".into(), reason };
        match self.0.recv().await {
            Some(Message::Rows(piece)) => Ok(Some(piece)),
            Some(Message::End) => Ok(None),
            Some(Message::Failed(reason)) => Err(refused(reason)),
            None => Err(refused("it ended before all rows were made".into())),
        }
    }
}
