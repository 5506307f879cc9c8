use std::collections::BTreeSet;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;

const TIMEOUT: i64 = 30;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_600_000_000 + seconds, 0).unwrap()
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder, SpoolOptions::default()).unwrap()
}

fn bodies(many: usize) -> Vec<NewMessage> {
    (0..many).map(|index| NewMessage::new(format!("body {index}"))).collect()
}

fn ids(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.id.clone()).collect()
}

fn all(spool: &Spool, now: DateTime<Utc>) -> Vec<Message> {
    spool.receive(1_000, u64::MAX, now).unwrap()
}

fn segments(folder: &Path, part: &str) -> Vec<PathBuf> {
    fs::read_dir(folder.join(part)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_message_arrives_as_it_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut message = NewMessage::new(&b"\xff\0{}"[..]);
    message.attributes.insert("a".into(), "é".into());
    let sent = open(folder.path()).send(&[message.clone()], at(1)).unwrap();
    let received = all(&open(folder.path()), at(2));
    let expected = Message {
        id: sent[0].clone(),
        body: message.body,
        enqueued_at: at(1),
        receive_count: 1,
        attributes: message.attributes,
    };
    assert_eq!(received, [expected]);
}

#[test]
fn a_received_message_is_hidden_until_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.send(&bodies(3), at(0)).unwrap();
    assert_eq!(all(&spool, at(0)).len(), 3);
    assert_eq!(spool.depth(at(0)).unwrap(), Depth { waiting: 0, in_flight: 3, dead: 0 });
    assert_eq!(all(&open(folder.path()), at(TIMEOUT - 1)), []);
    let again = all(&open(folder.path()), at(TIMEOUT));
    assert_eq!(again.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn deleted_messages_are_gone_and_so_is_their_segment() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.send(&bodies(5), at(0)).unwrap();
    let ids = ids(&all(&spool, at(0)));
    spool.delete(&[&ids[3], &ids[1]]).unwrap();
    assert_eq!(all(&spool, at(TIMEOUT)).len(), 3);
    spool.delete(&ids).unwrap();
    spool.delete(&ids).unwrap();
    assert_eq!(spool.depth(at(99)).unwrap(), Depth::default());
    assert_eq!(segments(folder.path(), "segments"), Vec::<PathBuf>::new());
}

#[test]
fn release_shows_and_extend_hides() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.send(&bodies(2), at(0)).unwrap();
    let ids = ids(&all(&spool, at(0)));
    spool.release(&ids[..1]).unwrap();
    spool.extend(&ids[1..], at(TIMEOUT - 1)).unwrap();
    let again = all(&spool, at(TIMEOUT));
    assert_eq!(again.iter().map(|message| (&message.id, message.receive_count)).collect::<Vec<_>>(), [(&ids[0], 2)]);
}

#[test]
fn limits_of_messages_and_bytes_hold_but_one_message_always_comes() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.send(&[NewMessage::new(vec![b'a'; 100]), NewMessage::new(vec![b'b'; 100])], at(0)).unwrap();
    spool.send(&bodies(10), at(1)).unwrap();
    assert_eq!(spool.receive(5, 1, at(1)).unwrap().len(), 1);
    assert_eq!(spool.receive(3, 1_000, at(1)).unwrap().len(), 3);
    assert_eq!(spool.receive(0, 1_000, at(1)).unwrap().len(), 0);
    assert_eq!(all(&spool, at(1)).len(), 8);
}

#[test]
fn after_all_its_tries_a_message_is_a_dead_letter_until_it_is_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { max_receive_count: 2, ..SpoolOptions::default() };
    let spool = Spool::open(folder.path(), options).unwrap();
    let sent = spool.send(&bodies(2), at(0)).unwrap();
    spool.delete(&sent[1..]).unwrap();
    assert_eq!(all(&spool, at(0)).len(), 1);
    assert_eq!(all(&spool, at(30)).len(), 1);
    assert_eq!(all(&spool, at(60)), []);
    assert_eq!(spool.depth(at(60)).unwrap(), Depth { dead: 1, ..Depth::default() });
    assert_eq!(ids(&spool.dead_letters(10).unwrap()), sent[..1]);
    assert_eq!(segments(folder.path(), "dead").len(), 1);
    assert_eq!(spool.redrive().unwrap(), 1);
    assert_eq!(segments(folder.path(), "dead").len(), 0);
    let back = all(&spool, at(61));
    assert_eq!((back[0].id.as_str(), back[0].receive_count), (sent[0].as_str(), 3));
    assert_eq!(all(&spool, at(91)).len(), 1);
    assert_eq!(all(&spool, at(121)).len(), 0);
    spool.delete(&sent).unwrap();
    assert_eq!(spool.depth(at(121)).unwrap(), Depth::default());
}

#[test]
fn a_wrong_id_is_refused_and_a_strange_one_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    assert!(spool.delete(&["nonsense"]).is_err());
    spool.delete(&[format!("{}-0", Uuid::nil().simple())]).unwrap();
}

#[test]
fn a_torn_line_of_the_journal_costs_nothing_but_certainty() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.send(&bodies(2), at(0)).unwrap();
    let mut journal = File::options().append(true).open(folder.path().join("journal")).unwrap();
    journal.write_all(b"12345678 {\"op\":\"lea").unwrap();
    let received = all(&spool, at(0));
    assert_eq!(received.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [2, 2]);
    spool.delete(&ids(&received)).unwrap();
    assert_eq!(open(folder.path()).depth(at(99)).unwrap(), Depth::default());
}

#[test]
fn a_lost_or_damaged_journal_loses_no_message() {
    for damage in [None, Some(&b""[..]), Some(b"\xff\xfe not a journal")] {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.send(&bodies(2), at(0)).unwrap();
        assert_eq!(all(&spool, at(0)).len(), 2);
        match damage {
            Some(bytes) => fs::write(folder.path().join("journal"), bytes).unwrap(),
            None => fs::remove_file(folder.path().join("journal")).unwrap(),
        }
        let again = all(&spool, at(1));
        assert_eq!(again.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [2, 2], "{damage:?}");
    }
}

#[test]
fn a_damaged_record_becomes_a_dead_letter_and_the_others_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let sent = spool.send(&bodies(3), at(0)).unwrap();
    let path = segments(folder.path(), "segments").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(ids(&all(&spool, at(0))), sent[..2]);
    let letters = spool.dead_letters(10).unwrap();
    assert_eq!(ids(&letters), sent[2..]);
    assert!(letters[0].attributes.contains_key("headwater.damaged"));
}

#[test]
fn a_segment_cut_anywhere_never_panics_and_keeps_count() {
    let whole = tempfile::tempdir().unwrap();
    open(whole.path()).send(&bodies(3), at(0)).unwrap();
    let segment = segments(whole.path(), "segments").remove(0);
    let bytes = fs::read(&segment).unwrap();
    for cut in 0..bytes.len() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        fs::write(folder.path().join("segments").join(segment.file_name().unwrap()), &bytes[..cut]).unwrap();
        let received = all(&spool, at(0)).len();
        let dead = spool.dead_letters(10).unwrap().len();
        assert_eq!(received + dead, 3, "cut at {cut}");
    }
}

#[test]
fn a_grown_journal_is_rewritten_and_other_processes_notice() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (open(folder.path()), open(folder.path()));
    let sent = one.send(&bodies(20_000), at(0)).unwrap();
    let even: Vec<&String> = sent.iter().step_by(2).collect();
    for seconds in 0..100 {
        one.extend(&even, at(1_000 + seconds)).unwrap();
    }
    assert!(fs::metadata(folder.path().join("journal")).unwrap().len() < 10 << 20);
    assert_eq!(other.depth(at(1_100)).unwrap(), one.depth(at(1_100)).unwrap());
    assert_eq!(other.depth(at(1_100)).unwrap(), Depth { waiting: 10_000, in_flight: 10_000, dead: 0 });
}

#[test]
fn senders_and_receivers_compete_and_each_message_is_received_once() {
    let folder = tempfile::tempdir().unwrap();
    let (senders, each) = (3, 40);
    let taken = std::thread::scope(|scope| {
        for _ in 0..senders {
            scope.spawn(|| {
                let spool = open(folder.path());
                for second in 0..each {
                    spool.send(&bodies(5), at(second)).unwrap();
                }
            });
        }
        let receive = || {
            let spool = open(folder.path());
            let mut taken = Vec::new();
            for _ in 0..200 {
                let received = ids(&spool.receive(7, u64::MAX, at(0)).unwrap());
                spool.delete(&received).unwrap();
                taken.extend(received);
            }
            taken
        };
        let receivers = [scope.spawn(receive), scope.spawn(receive)];
        receivers.into_iter().flat_map(|receiver| receiver.join().unwrap()).collect::<Vec<_>>()
    });
    let rest = ids(&all(&open(folder.path()), at(0)));
    let distinct: BTreeSet<_> = taken.iter().chain(&rest).collect();
    assert_eq!(distinct.len(), 3 * 40 * 5);
    assert_eq!(taken.len() + rest.len(), distinct.len());
}

/// What a caller may do, and what may happen to it.
#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    Receive(usize),
    Delete(u64),
    Release(u64),
    Wait(i64),
    /// The process dies, and another begins.
    Crash,
    /// It dies while it writes the journal.
    Tear,
    Redrive,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1_usize..6).prop_map(Step::Send),
        4 => (1_usize..8).prop_map(Step::Receive),
        3 => any::<u64>().prop_map(Step::Delete),
        2 => any::<u64>().prop_map(Step::Release),
        2 => (0_i64..40).prop_map(Step::Wait),
        2 => Just(Step::Crash),
        1 => Just(Step::Tear),
        1 => Just(Step::Redrive),
    ]
}

/// What must be true of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    count: u32,
    tries: u32,
    hidden_until: i64,
    dead: bool,
    deleted: bool,
}

#[derive(Debug, Default)]
struct Model {
    messages: BTreeMap<String, Expected>,
    held: Vec<String>,
    now: i64,
}

const TRIES: u32 = 3;

impl Model {
    fn check_received(&mut self, received: &[Message], asked: usize) {
        let now = self.now;
        for expected in self.messages.values_mut() {
            let waits = !expected.deleted && !expected.dead && expected.hidden_until <= now;
            expected.dead |= waits && expected.tries >= TRIES;
        }
        let waits = |expected: &&Expected| !expected.deleted && !expected.dead && expected.hidden_until <= now;
        let waiting = self.messages.values().filter(waits).count();
        assert_eq!(received.len(), waiting.min(asked), "nothing lost, nothing held back");
        for message in received {
            let expected = self.messages.get_mut(&message.id).expect("a message that was sent");
            assert!(waits(&&*expected), "{expected:?} at {now}");
            assert!(message.receive_count > expected.count, "{message:?} {expected:?}");
            expected.count = message.receive_count;
            expected.tries += 1;
            expected.hidden_until = now + TIMEOUT;
            self.held.push(message.id.clone());
        }
    }

    fn chosen(&self, seed: u64) -> Vec<String> {
        self.held.iter().enumerate().filter(|(at, _)| seed >> (at % 64) & 1 == 1).map(|(_, id)| id.clone()).collect()
    }

    fn check_depth(&self, spool: &Spool) {
        let depth = spool.depth(at(self.now)).unwrap();
        let alive = self.messages.values().filter(|expected| !expected.deleted).count() as u64;
        let dead = self.messages.values().filter(|expected| expected.dead && !expected.deleted).count() as u64;
        assert_eq!((depth.waiting + depth.in_flight + depth.dead, depth.dead), (alive, dead));
        assert_eq!(spool.dead_letters(1_000).unwrap().len() as u64, dead);
    }
}

fn run(steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let options = SpoolOptions { max_receive_count: TRIES, ..SpoolOptions::default() };
    let start = || Spool::open(folder.path(), options.clone()).unwrap();
    let mut spool = start();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Send(many) => {
                for id in spool.send(&bodies(*many), at(model.now)).unwrap() {
                    model.messages.insert(id, Expected::default());
                }
            }
            Step::Receive(many) => {
                let received = spool.receive(*many, u64::MAX, at(model.now)).unwrap();
                model.check_received(&received, *many);
            }
            Step::Delete(seed) => {
                let chosen = model.chosen(*seed);
                spool.delete(&chosen).unwrap();
                chosen.iter().for_each(|id| model.messages.get_mut(id).unwrap().deleted = true);
            }
            Step::Release(seed) => {
                let chosen = model.chosen(*seed);
                spool.release(&chosen).unwrap();
                chosen.iter().for_each(|id| model.messages.get_mut(id).unwrap().hidden_until = 0);
            }
            Step::Wait(seconds) => model.now += seconds,
            Step::Crash => spool = start(),
            Step::Tear => {
                let mut journal = File::options().append(true).open(folder.path().join("journal")).unwrap();
                journal.write_all(b"0badf00d {\"op\":").unwrap();
                spool = start();
            }
            Step::Redrive => {
                spool.redrive().unwrap();
                for expected in model.messages.values_mut().filter(|expected| expected.dead) {
                    *expected = Expected { dead: false, hidden_until: 0, tries: 0, ..*expected };
                }
            }
        }
        model.check_depth(&spool);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_history_loses_nothing_and_doubles_only_what_was_visible_again(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        run(&steps);
    }
}
