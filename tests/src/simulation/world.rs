//! What there is: a pipeline, a store, messages and files that arrive, processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use headwater_core::model::Pipeline;
use headwater_core::trigger::Message;
use headwater_lake::lake::Lake;
use headwater_lake::storage::Storage;
use headwater_runtime::local::FunctionKind;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::chance::{Chance, Draws};
use super::store::{Ghosts, Storm, View};
use super::turns::Turns;
use crate::lakes::{message, pipeline};

/// Tables of every pipeline.
const SQL: &str = "
    CREATE STREAMING TABLE sent AS
      SELECT * FROM STREAM read_events('events', format => 'json', schema => 'n INT, k STRING');
    CREATE STREAMING TABLE filed AS
      SELECT * FROM STREAM read_files('in', format => 'json', schema => 'n INT, k STRING');
    CREATE STREAMING TABLE checked (
      n INT, k STRING, CONSTRAINT positive EXPECT (n >= 0) ON VIOLATION DROP ROW, CONSTRAINT even EXPECT (n % 2 = 0));
    CREATE FLOW from_messages AS INSERT INTO checked BY NAME SELECT n, k FROM STREAM sent;
    CREATE FLOW from_files AS INSERT INTO checked BY NAME SELECT n, k FROM STREAM filed;";

/// Tables that a pipeline has or hasn't.
const MORE: [&str; 4] = [
    "CREATE STREAMING TABLE firsts TBLPROPERTIES ('headwater.dedup.keys' = 'k') AS SELECT k FROM STREAM checked;",
    "CREATE STREAMING TABLE latest;
    CREATE FLOW changes_sent AS AUTO CDC INTO latest FROM STREAM sent KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k, n);
    CREATE FLOW changes_filed AS AUTO CDC INTO latest FROM STREAM filed KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k, n);",
    "CREATE STREAMING TABLE history;
    CREATE FLOW states AS AUTO CDC INTO history FROM STREAM checked KEYS (k) APPLY AS DELETE WHEN n % 3 = 0 SEQUENCE BY n COLUMNS (k)
      STORED AS SCD TYPE 2;",
    "CREATE MATERIALIZED VIEW totals AS SELECT k, count(*) AS rows, sum(n) AS total FROM checked GROUP BY k;",
];

/// Processes that there may be, by what they do; the last one is no function but another engine.
pub(super) const ROLES: [Option<FunctionKind>; 9] = [
    Some(FunctionKind::BronzeEvents),
    Some(FunctionKind::BronzeEvents),
    Some(FunctionKind::BronzeFiles),
    Some(FunctionKind::BronzeFiles),
    Some(FunctionKind::Silver),
    Some(FunctionKind::Silver),
    Some(FunctionKind::Gold),
    Some(FunctionKind::Compact),
    None,
];

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
    pub(super) roles: Vec<Option<FunctionKind>>,
    pub(super) storm: Option<Storm>,
    /// Names and texts of the files.
    pub(super) files: Vec<(String, String)>,
    /// Numbers and keys of the rows that another engine has put into `checked`.
    outside: Mutex<Vec<(i64, String)>>,
    queue: Mutex<Vec<Sent>>,
    /// Takes messages of a process that died for done: a bug, to be found.
    forgets: bool,
}

/// A pipeline with some of the tables that it may have. Each is read once.
fn pipeline_of(more: [bool; 4]) -> Pipeline {
    static READ: Mutex<BTreeMap<[bool; 4], Pipeline>> = Mutex::new(BTreeMap::new());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let chosen = || MORE.into_iter().zip(more).filter(|(_, is_there)| *is_there).map(|(sql, _)| sql);
    read.entry(more).or_insert_with(|| pipeline(&std::iter::once(SQL).chain(chosen()).collect::<String>())).clone()
}

/// A record: the first is a row, one of the others may be no record at all.
fn record(chance: &mut Chance, n: usize) -> String {
    let (is_bad, is_negative, key) = (chance.draw(8) == 7, chance.draw(5) == 4, chance.draw(6));
    match (is_bad && n > 1, is_negative && n > 1) {
        (true, _) => format!("not json {n}"),
        (false, true) => format!("{{\"n\": -{n}, \"k\": \"k{key}\"}}"),
        (false, false) => format!("{{\"n\": {n}, \"k\": \"k{key}\"}}"),
    }
}

impl World {
    pub(super) fn new(draws: &Draws) -> Self {
        let mut chance = Chance::new(draws);
        let storm = Storm::of(chance.draw(16), chance.draw(3));
        let more = MORE.map(|_| chance.draw(2) == 1);
        let roles: Vec<_> = ROLES.into_iter().filter(|_| chance.draw(8) > 0).collect();
        let mut n = 0;
        let mut next = |chance: &mut Chance| {
            n += 1;
            record(chance, n)
        };
        let queue = (0..1 + chance.draw(12)).map(|at| Sent {
            id: format!("m{at}"),
            body: next(&mut chance),
            received: 0,
            whereabouts: Whereabouts::Waiting,
        });
        let queue = Mutex::new(queue.collect());
        let folder = tempfile::tempdir().unwrap();
        let landing = folder.path().join("in");
        fs::create_dir(&landing).unwrap();
        let mut files = Vec::new();
        for at in 0..1 + chance.draw(4) {
            let mut text = String::new();
            for _ in 0..chance.draw(4) {
                let _ = writeln!(text, "{}", next(&mut chance));
            }
            let path = landing.join(format!("f{at}.json"));
            fs::write(&path, &text).unwrap();
            let second = Duration::from_secs(at as u64);
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + second).unwrap();
            files.push((format!("f{at}.json"), text));
        }
        let store = InMemory::new();
        let turns = Turns::new(chance, roles.len());
        turns.note(format!("{roles:?} {storm:?} {more:?}"));
        Self {
            turns: Arc::new(turns),
            ghosts: Ghosts::new(&store),
            store,
            folder,
            pipeline: pipeline_of(more),
            roles,
            storm,
            files,
            outside: Mutex::default(),
            queue,
            forgets: false,
        }
    }

    /// The same with a bug: messages of a process that dies are taken for done.
    pub(super) fn forgetting(self) -> Self {
        Self { forgets: true, ..self }
    }

    /// The lake as a new process sees it. In fair weather it remembers what it has just read of logs, as on a cloud; in a
    /// storm each read is asked for, so that what is hit doesn't hang on how quick the machine is.
    pub(super) fn lake(&self, store: Arc<dyn ObjectStore>) -> Lake {
        let storage = self.storage(store);
        let storage = if self.storm.is_none() { storage.remembering() } else { storage };
        Lake::with_storage(self.pipeline.clone(), self.folder.path(), storage).unwrap()
    }

    pub(super) fn storage(&self, store: Arc<dyn ObjectStore>) -> Storage {
        Storage::with_store(Storage::open("memory:///").unwrap().url().clone(), store)
    }

    /// What a process sees of the store.
    pub(super) fn view(&self, actor: usize, life: u64) -> View {
        View::new(&self.store, (actor, life), (Arc::clone(&self.turns), self.ghosts.clone()), self.storm)
    }

    pub(super) fn outside(&self) -> MutexGuard<'_, Vec<(i64, String)>> {
        self.outside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives some messages, by chance; now and then one that another process still works on.
    pub(super) fn receive(&self) -> Vec<Message> {
        let mut received = Vec::new();
        for sent in self.queue().iter_mut() {
            let comes = match sent.whereabouts {
                Whereabouts::Waiting => self.turns.draw(2) == 1,
                Whereabouts::InFlight => self.turns.draw(6) == 5,
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

    /// Deletes messages that a process has done, or makes them visible again; of one that died, all of them.
    pub(super) fn settle(&self, messages: &[Message], is_done: Option<impl Fn(&str) -> bool>) {
        for sent in self.queue().iter_mut().filter(|sent| sent.whereabouts == Whereabouts::InFlight) {
            if messages.iter().any(|message| message.id == sent.id) {
                let is_done = is_done.as_ref().map_or(self.forgets, |is_done| is_done(&sent.id));
                sent.whereabouts = if is_done { Whereabouts::Done } else { Whereabouts::Waiting };
            }
        }
    }
}
