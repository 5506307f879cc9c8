//! Frames on the wire: eight bytes of header, then a performative and perhaps a part of a message.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Protocol header of AMQP 1.0.
pub(crate) const PROTOCOL: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
/// Protocol header of SASL.
pub(crate) const SASL: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// Bytes of a frame that this server takes and sends at most.
pub(crate) const MAX_FRAME: usize = 65_536;
/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 8;

/// Reads one frame: its channel and its body, which is empty for a sign of life.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<(u16, Vec<u8>)> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let [a, b, c, d, words, _, high, low] = header;
    let size = u32::from_be_bytes([a, b, c, d]) as usize;
    let extended = (usize::from(words) * 4).saturating_sub(HEADER);
    if size < HEADER + extended || size > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of a size that isn't allowed"));
    }
    let mut body = vec![0; size - HEADER];
    stream.read_exact(&mut body).await?;
    Ok((u16::from_be_bytes([high, low]), body.split_off(extended)))
}

/// Appends a frame of this type (0 AMQP, 1 SASL) to the output.
pub(crate) fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, parts: &[&[u8]]) {
    let size = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
    out.reserve(size);
    out.extend((size as u32).to_be_bytes());
    out.extend([2, kind]);
    out.extend(channel.to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
