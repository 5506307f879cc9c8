//! What there is: a pipeline, a store, messages and files that arrive.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use headwater_core::model::Pipeline;
use headwater_core::trigger::Message;
use headwater_lake::lake::Lake;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::store::Ghosts;
use super::turns::Turns;
use crate::lakes::{lake_of, message, pipeline};

const SQL: &str = "
    CREATE STREAMING TABLE sent AS
      SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, k STRING');
    CREATE STREAMING TABLE filed AS
      SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, k STRING');
    CREATE STREAMING TABLE checked (
      n INT, k STRING, CONSTRAINT positive EXPECT (n >= 0) ON VIOLATION DROP ROW, CONSTRAINT even EXPECT (n % 2 = 0));
    CREATE FLOW from_messages AS INSERT INTO checked BY NAME SELECT n, k FROM STREAM sent;
    CREATE FLOW from_files AS INSERT INTO checked BY NAME SELECT n, k FROM STREAM filed;
    CREATE STREAMING TABLE firsts TBLPROPERTIES ('headwater.dedup.keys' = 'k') AS SELECT k FROM STREAM checked;
    CREATE STREAMING TABLE latest;
    CREATE FLOW changes_sent AS AUTO CDC INTO latest FROM STREAM sent KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k, n);
    CREATE FLOW changes_filed AS AUTO CDC INTO latest FROM STREAM filed KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k, n);
    CREATE STREAMING TABLE history;
    CREATE FLOW states AS AUTO CDC INTO history FROM STREAM checked KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k)
      STORED AS SCD TYPE 2;
    CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS rows, sum(n) AS total FROM checked GROUP BY k";

/// What became of a message so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    Waiting,
    InFlight,
    Done,
}

/// A message of the queue.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) received: u32,
    pub(super) whereabouts: Whereabouts,
}

/// Everything of one simulation.
#[derive(Debug)]
pub(super) struct World {
    pub(super) turns: Arc<Turns>,
    pub(super) ghosts: Ghosts,
    pub(super) store: InMemory,
    pub(super) folder: TempDir,
    pub(super) pipeline: Pipeline,
    /// Names and texts of the files.
    pub(super) files: Vec<(String, String)>,
    /// Numbers and keys of the rows that another engine has put into `checked`.
    outside: Mutex<Vec<(i64, String)>>,
    queue: Mutex<Vec<Sent>>,
}

/// Processes: who they are says what they do.
pub(super) const ACTORS: usize = 9;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed ^ 0x5eed);
        let mut n = 0;
        let mut record = |chance: &mut StdRng| {
            n += 1;
            let sign = if chance.random_ratio(1, 5) { -1 } else { 1 };
            let key = chance.random_range(0..6);
            match chance.random_ratio(1, 8) {
                true => format!("not json {n}"),
                false => format!("{{\"n\": {}, \"k\": \"k{key}\"}}", sign * n),
            }
        };
        let queue = (0..chance.random_range(4..14)).map(|at| Sent {
            id: format!("m{at}"),
            body: record(&mut chance),
            received: 0,
            whereabouts: Whereabouts::Waiting,
        });
        let queue = Mutex::new(queue.collect());
        let folder = tempfile::tempdir().unwrap();
        let landing = folder.path().join("in");
        fs::create_dir(&landing).unwrap();
        let mut files = Vec::new();
        for at in 0..chance.random_range(1..5) {
            let mut text = String::new();
            for _ in 0..chance.random_range(0..4) {
                let _ = writeln!(text, "{}", record(&mut chance));
            }
            let path = landing.join(format!("f{at}.json"));
            fs::write(&path, &text).unwrap();
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(at)).unwrap();
            files.push((format!("f{at}.json"), text));
        }
        let turns = Arc::new(Turns::new(seed, ACTORS));
        let store = InMemory::new();
        Self {
            turns,
            ghosts: Ghosts::default(),
            store,
            folder,
            pipeline: pipeline(SQL),
            files,
            outside: Mutex::default(),
            queue,
        }
    }

    /// The lake as a new process sees it.
    pub(super) fn lake(&self, store: Arc<dyn ObjectStore>) -> Lake {
        lake_of(&self.pipeline, self.folder.path(), store)
    }

    pub(super) fn outside(&self) -> MutexGuard<'_, Vec<(i64, String)>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives some messages, by the seed; now and then one that another process still works on.
    pub(super) fn receive(&self) -> Vec<Message> {
        let mut received = Vec::new();
        for sent in self.queue().iter_mut() {
            let comes = match sent.whereabouts {
                Whereabouts::Waiting => self.turns.draw(2) == 0,
                Whereabouts::InFlight => self.turns.draw(6) == 0,
                Whereabouts::Done => false,
            };
            if comes {
                sent.received += 1;
                sent.whereabouts = Whereabouts::InFlight;
                received.push(message(&sent.id, &sent.body, sent.received));
            }
        }
        received
    }

    /// Deletes messages, or makes them visible again.
    pub(super) fn settle(&self, messages: &[Message], whereabouts: impl Fn(&str) -> Whereabouts) {
        for sent in self.queue().iter_mut().filter(|sent| sent.whereabouts == Whereabouts::InFlight) {
            if messages.iter().any(|message| message.id == sent.id) {
                sent.whereabouts = whereabouts(&sent.id);
            }
        }
    }
}
