//! One connection of a client: its handshake, sessions and links.

mod attach;
mod deliver;
mod link;
mod request;
mod transfer;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, interval_at, sleep_until};

use self::link::{Link, Role, Session};
use crate::amqp::{
    Encoder, HEADER, MAX_FRAME, Malformed, PROTOCOL, SASL, code, described, performative, put_frame, read_frame,
    text_array,
};
use crate::broker::Broker;
use crate::readers::Refusal;
use crate::token::Grant;

/// Output is written once it is larger than this.
const ENOUGH: usize = 1 << 18;
/// A sign of life is sent this often.
const BEAT: Duration = Duration::from_secs(10);
/// Frames that may be in flight in a session.
const WINDOW: u32 = i32::MAX as u32;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the peer speaks another protocol")]
    Protocol,
}

type Result<T> = std::result::Result<T, Broken>;

/// What reaches a connection from its reader and from timers.
#[derive(Debug)]
enum Arrival {
    Frame(u16, Vec<u8>),
    /// Bytes that are due to be written.
    Due(Vec<u8>),
    /// More may be delivered.
    More,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    GoOn,
    /// Write what is left, and hang up.
    Close,
    /// Hang up at once.
    Drop,
}

#[derive(Debug)]
struct Connection {
    broker: Arc<Broker>,
    out: Vec<u8>,
    sessions: BTreeMap<u16, Session>,
    arrivals: UnboundedSender<Arrival>,
    /// Frames that are to be written later, each with its time, in the order of these.
    later: UnboundedSender<(Instant, Vec<u8>)>,
    expel: UnboundedSender<(u64, Refusal)>,
    granted: Vec<Grant>,
    /// Bytes of a frame that the peer takes.
    peer_frame: usize,
    flow: Flow,
}

/// Serves a connection until either side ends it.
pub(crate) async fn serve(mut stream: TcpStream, broker: Arc<Broker>) -> Result<()> {
    stream.set_nodelay(true)?;
    shake_hands(&mut stream).await?;
    let (reader, mut writer) = stream.into_split();
    let (arrivals, mut arrived) = unbounded_channel();
    let (expel, mut expelled) = unbounded_channel();
    let (later, due) = unbounded_channel();
    tokio::spawn(delay(due, arrivals.clone()));
    let reading = tokio::spawn(read(reader, arrivals.clone()));
    let mut news = broker.news();
    let mut connection = Connection {
        broker,
        out: Vec::new(),
        sessions: BTreeMap::new(),
        arrivals,
        later,
        expel,
        granted: Vec::new(),
        peer_frame: 512,
        flow: Flow::GoOn,
    };
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    let mut served = Ok(());
    while connection.flow == Flow::GoOn && served.is_ok() {
        tokio::select! {
            biased;
            Some((reader, refusal)) = expelled.recv() => connection.expel(reader, &refusal),
            Some(arrival) = arrived.recv() => served = connection.take(arrival, &mut arrived),
            _ = news.changed() => {}
            _ = beat.tick() => put_frame(&mut connection.out, 0, 0, &[]),
        }
        if connection.broker.faults.is_out() {
            break;
        }
        connection.deliver();
        if !connection.out.is_empty() {
            writer.write_all(&connection.out).await?;
            connection.out.clear();
        }
    }
    reading.abort();
    served
}

impl Drop for Connection {
    fn drop(&mut self) {
        for link in self.sessions.values().flat_map(|session| session.links.values()) {
            link.leave();
        }
    }
}

impl Connection {
    /// Takes what has arrived, and all that has arrived behind it.
    fn take(&mut self, first: Arrival, arrived: &mut UnboundedReceiver<Arrival>) -> Result<()> {
        let mut next = Some(first);
        while let Some(arrival) = next {
            match arrival {
                Arrival::Frame(channel, body) if !body.is_empty() => self.frame(channel, &body)?,
                Arrival::Frame(..) | Arrival::More => {}
                Arrival::Due(bytes) => self.out.extend(bytes),
                Arrival::End => self.flow = Flow::Drop,
            }
            if self.flow != Flow::GoOn {
                break;
            }
            next = arrived.try_recv().ok();
        }
        Ok(())
    }

    fn frame(&mut self, channel: u16, body: &[u8]) -> Result<()> {
        let fields = performative(body)?;
        match fields.code {
            code::OPEN => {
                self.peer_frame = fields.unsigned(2).map_or(MAX_FRAME, |size| (size as usize).clamp(512, MAX_FRAME));
                let open = Encoder::default().text("eventhubs-emulator").null().uint(MAX_FRAME as u32).ushort(4_999);
                self.put(0, &open.uint(240_000).nulls(5).described(code::OPEN));
            }
            code::BEGIN => {
                let session = Session::new(fields.unsigned(1).unwrap_or(0), fields.unsigned(2).unwrap_or(0));
                self.sessions.insert(channel, session);
                let begin = Encoder::default().ushort(channel).uint(0).uint(WINDOW).uint(WINDOW).uint(1_023);
                self.put(channel, &begin.nulls(3).described(code::BEGIN));
            }
            code::ATTACH => self.attach(channel, &fields),
            code::FLOW => self.credit(channel, &fields),
            code::TRANSFER => self.transfer(channel, &fields)?,
            code::DETACH => {
                let handle = fields.unsigned(0).unwrap_or(0);
                let link = self.sessions.get_mut(&channel).and_then(|session| session.links.remove(&handle));
                if let Some(link) = link {
                    link.leave();
                    // A link that is only detached, and not closed, is answered in kind: its peer would attach it again to close it.
                    self.put_later(channel, &detached((handle, fields.is_true(1)), None));
                }
            }
            code::END => {
                for link in self.sessions.remove(&channel).into_iter().flat_map(|session| session.links.into_values()) {
                    link.leave();
                }
                self.put_later(channel, &Encoder::default().null().described(code::END));
            }
            code::CLOSE => {
                self.put(0, &Encoder::default().null().described(code::CLOSE));
                self.flow = Flow::Close;
            }
            _ => {}
        }
        Ok(())
    }

    fn put(&mut self, channel: u16, body: &[u8]) {
        put_frame(&mut self.out, 0, channel, &[body]);
    }

    /// Writes a frame after the delay that answers have.
    fn put_later(&self, channel: u16, body: &[u8]) {
        let mut frame = Vec::new();
        put_frame(&mut frame, 0, channel, &[body]);
        // A connection that is gone takes no answer.
        let _ = self.later.send((Instant::now() + self.broker.options.answer_delay, frame));
    }

    /// Ends a link for good, with the reason.
    fn detach(&mut self, channel: u16, handle: u32, refusal: &Refusal) {
        self.put(channel, &detached((handle, true), Some(refusal)));
    }

    /// Ends a link from our side.
    fn remove(&mut self, channel: u16, handle: u32, refusal: &Refusal) {
        if let Some(link) = self.sessions.get_mut(&channel).and_then(|session| session.links.remove(&handle)) {
            link.leave();
            self.detach(channel, handle, refusal);
        }
    }

    /// Ends the link of a receiver that had to leave its partition.
    fn expel(&mut self, reader: u64, refusal: &Refusal) {
        let links =
            self.sessions.iter().flat_map(|(channel, session)| session.links.values().map(move |l| (*channel, l)));
        let found = links.into_iter().find(|(_, link)| link.reader() == Some(reader));
        if let Some((channel, handle)) = found.map(|(channel, link)| (channel, link.handle)) {
            self.remove(channel, handle, refusal);
        }
    }
}

/// The end of a link, for good where it is closed, with the reason if there is one.
fn detached((handle, is_closed): (u32, bool), refusal: Option<&Refusal>) -> Vec<u8> {
    let detach = Encoder::default().uint(handle).boolean(is_closed);
    let detach = match refusal {
        Some(Refusal { condition, description }) => {
            tracing::debug!(condition, description, "link refused or detached");
            detach.error(condition, description)
        }
        None => detach.null(),
    };
    detach.described(code::DETACH)
}

/// Hands frames over when they are due, until nobody sends or takes any.
async fn delay(mut later: UnboundedReceiver<(Instant, Vec<u8>)>, arrivals: UnboundedSender<Arrival>) {
    while let Some((due, frame)) = later.recv().await {
        sleep_until(due).await;
        if arrivals.send(Arrival::Due(frame)).is_err() {
            return;
        }
    }
}

/// Protocol headers, and SASL if the peer begins with it: whoever comes is let in, tokens are checked later.
async fn shake_hands(stream: &mut TcpStream) -> Result<()> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    if header == SASL {
        let mechanisms = text_array(0xb3, &["ANONYMOUS", "MSSBCBS", "PLAIN", "EXTERNAL"]);
        let mechanisms = Encoder::default().raw(&mechanisms).list();
        let mut out = SASL.to_vec();
        put_frame(&mut out, 1, 0, &[&described(code::SASL_MECHANISMS, &mechanisms)]);
        stream.write_all(&out).await?;
        let (_, init) = read_frame(stream).await?;
        if performative(&init)?.code != code::SASL_INIT {
            return Err(Broken::Protocol);
        }
        let mut out = Vec::new();
        put_frame(&mut out, 1, 0, &[&Encoder::default().ubyte(0).null().described(code::SASL_OUTCOME)]);
        stream.write_all(&out).await?;
        stream.read_exact(&mut header).await?;
    }
    if header != PROTOCOL {
        return Err(Broken::Protocol);
    }
    stream.write_all(&PROTOCOL).await?;
    Ok(())
}

async fn read(stream: OwnedReadHalf, arrivals: UnboundedSender<Arrival>) {
    let mut stream = BufReader::with_capacity(MAX_FRAME, stream);
    while let Ok((channel, body)) = read_frame(&mut stream).await {
        if arrivals.send(Arrival::Frame(channel, body)).is_err() {
            return;
        }
    }
    // Nobody is left to tell where this fails.
    let _ = arrivals.send(Arrival::End);
}
