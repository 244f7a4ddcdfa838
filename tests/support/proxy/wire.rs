//! The part of Postgres's frontend/backend protocol that the proxy needs.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;

/// The first message of a client.
pub(super) enum Opening {
    /// A request for TLS or GSSAPI encryption.
    Encryption { tls: bool },
    /// The startup message, a complete frame.
    Startup(Vec<u8>),
}

/// What happens to a frame.
#[derive(PartialEq, Eq)]
pub(super) enum Frame {
    Pass,
    Drop,
    /// This frame and all later ones are discarded.
    Last,
    /// This frame is forwarded, and all later ones are discarded.
    PassAsLast,
}

/// Forwards frames as `admit` decides, which may replace their bytes.
pub(super) fn pass(from: &TcpStream, to: &TcpStream, mut admit: impl FnMut(&mut Vec<u8>) -> Frame) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    loop {
        // Flushes only if no further frame is ready: one packet for each frame would be slow.
        if from.buffer().is_empty() {
            to.flush()?;
        }
        if from.fill_buf()?.is_empty() {
            return Ok(());
        }
        let mut frame = read_frame(&mut from)?;
        match admit(&mut frame) {
            Frame::Pass => to.write_all(&frame)?,
            Frame::Drop => {}
            Frame::Last => return to.flush(),
            Frame::PassAsLast => {
                to.write_all(&frame)?;
                return to.flush();
            }
        }
    }
}

/// A frame: a byte for the type, four bytes for the length, which includes these four, and the body.
fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 5];
    from.read_exact(&mut frame)?;
    read_rest(from, frame, 1)
}

/// The first frames of a connection, which have no type.
pub(super) fn read_opening(client: &mut impl Read) -> io::Result<Opening> {
    const TLS_REQUEST: [u8; 4] = 80_877_103_i32.to_be_bytes();
    const GSS_ENCRYPTION_REQUEST: [u8; 4] = 80_877_104_i32.to_be_bytes();
    let mut length = vec![0; 4];
    client.read_exact(&mut length)?;
    let frame = read_rest(client, length, 0)?;
    Ok(match frame.get(4..8) {
        Some(code) if code == TLS_REQUEST => Opening::Encryption { tls: true },
        Some(code) if code == GSS_ENCRYPTION_REQUEST => Opening::Encryption { tls: false },
        _ => Opening::Startup(frame),
    })
}

/// Completes `frame`, whose length field is at `at` and counts from there.
fn read_rest(from: &mut impl Read, mut frame: Vec<u8>, at: usize) -> io::Result<Vec<u8>> {
    let length = [frame[at], frame[at + 1], frame[at + 2], frame[at + 3]];
    let length = u32::from_be_bytes(length).max(4) as usize;
    let read = frame.len();
    frame.resize(at + length, 0);
    from.read_exact(&mut frame[read..])?;
    Ok(frame)
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("our messages are short");
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

/// ErrorResponse.
pub(super) fn error(severity: &str, sqlstate: &str) -> Vec<u8> {
    let body = format!("S{severity}\0V{severity}\0C{sqlstate}\0M{INJECTED}\0\0");
    frame(b'E', body.as_bytes())
}

/// The message of errors of the proxy.
pub(super) const INJECTED: &str = "injected by the proxy";

/// A simple query that fails on the server with this SQLSTATE, so that the transaction fails too.
pub(super) fn failing_query(sqlstate: &str) -> Vec<u8> {
    frame(b'Q', format!("DO $$ BEGIN RAISE EXCEPTION '{INJECTED}' USING ERRCODE = '{sqlstate}'; END $$\0").as_bytes())
}

/// AuthenticationOk, after which the server sends its parameters.
pub(super) fn is_authentication_ok(frame: &[u8]) -> bool {
    frame[0] == b'R' && frame.get(5..9) == Some([0; 4].as_slice())
}

/// The text before the first zero byte, and the bytes after it.
pub(super) fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}
