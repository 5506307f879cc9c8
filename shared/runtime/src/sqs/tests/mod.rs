pub(crate) mod fake;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use headwater_core::aws::sqs::QueueAddress;
use headwater_core::batch::Limits;
use headwater_core::error::ErrorKind;
use tokio::sync::watch;

use self::fake::{Fault, Server};
use super::*;
use crate::spool::{Depth, NewMessage};

const WISH: Wish = Wish {
    limits: Limits { items: 1_000, bytes: 1 << 20 },
    hidden: Duration::from_secs(60),
    wait: Duration::ZERO,
    until: None,
};

fn messages(count: usize) -> Vec<NewMessage> {
    (0..count).map(|index| NewMessage::new(format!("{index:03}"))).collect()
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index:03}")).collect()
}

async fn with_messages(count: usize) -> (Server, Queue) {
    let server = Server::start(&["q", "dead"]).await;
    let queue = server.queue("q");
    queue.send(&messages(count)).await.unwrap();
    (server, queue)
}

#[tokio::test]
async fn what_was_sent_is_received_once_and_gone_when_deleted() {
    let (server, queue) = with_messages(95).await;
    assert_eq!(server.calls("SendMessageBatch").len(), 10);
    let received = queue.receive(WISH).await.unwrap();
    let mut got: Vec<_> = received.messages.iter().map(|message| message.body.clone()).collect();
    got.sort();
    assert_eq!(got, bodies(95));
    assert!(received.messages.iter().all(|message| message.receive_count == 1
        && message.enqueued_at >= received.received_at - chrono::TimeDelta::seconds(5)));
    assert!(queue.receive(WISH).await.unwrap().messages.is_empty(), "they are hidden");
    assert_eq!(queue.delete(&received.receipts).await.unwrap(), 0);
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn no_more_is_received_than_was_wished_for() {
    let (_server, queue) = with_messages(40).await;
    let wish = |items, bytes| Wish { limits: Limits { items, bytes }, ..WISH };
    assert_eq!(queue.receive(wish(7, 1_000)).await.unwrap().messages.len(), 7);
    assert_eq!(queue.receive(wish(1_000, 30)).await.unwrap().messages.len(), 10);
    let late = Wish { until: Some(tokio::time::Instant::now()), ..WISH };
    assert!(queue.receive(late).await.unwrap().messages.is_empty());
}

#[tokio::test]
async fn a_queue_is_found_with_the_first_call_and_then_no_more() {
    let (server, queue) = with_messages(1).await;
    queue.depth().await.unwrap();
    assert_eq!(server.calls("GetQueueUrl").len(), 1);
    let unused = server.queue("q");
    drop(unused);
    assert_eq!(server.calls("GetQueueUrl").len(), 1);
}

#[tokio::test]
async fn entries_that_fail_alone_are_sent_again_alone() {
    let server = Server::start(&["q"]).await;
    server.fail("SendMessageBatch", Fault::Entries(vec![1, 4], "InternalError", false));
    server.fail("SendMessageBatch", Fault::Entries(vec![0], "RequestThrottled", true));
    server.queue("q").send(&messages(5)).await.unwrap();
    assert_eq!(server.bodies("q"), bodies(5));
    let entries: Vec<_> =
        server.calls("SendMessageBatch").iter().map(|call| call["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(entries, [5, 2, 1]);
}

#[tokio::test]
async fn what_the_queue_refuses_is_an_error_and_the_rest_is_sent() {
    let server = Server::start(&["q"]).await;
    server.fail("SendMessageBatch", Fault::Entries(vec![2], "InvalidMessageContents", true));
    let error = server.queue("q").send(&messages(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("sqs://q"), "{error}");
    assert_eq!(server.bodies("q"), bodies(2));
}

#[tokio::test]
async fn throttles_and_failures_of_the_service_are_waited_out() {
    let server = Server::start(&["q"]).await;
    server.fail("SendMessageBatch", Fault::Code(503, "ServiceUnavailable"));
    server.fail("SendMessageBatch", Fault::Code(400, "ThrottlingException"));
    server.queue("q").send(&messages(3)).await.unwrap();
    assert_eq!(server.bodies("q"), bodies(3));
}

#[tokio::test]
async fn a_send_whose_answer_was_lost_is_sent_again() {
    let server = Server::start(&["q"]).await;
    server.fail("SendMessageBatch", Fault::LostAnswer);
    server.queue("q").send(&messages(1)).await.unwrap();
    assert_eq!(server.bodies("q"), ["000", "000"]);
}

#[tokio::test]
async fn a_request_that_hangs_is_given_up_and_made_again() {
    let (server, queue) = with_messages(1).await;
    server.fail("DeleteMessageBatch", Fault::Hang);
    let received = queue.receive(WISH).await.unwrap();
    let started = std::time::Instant::now();
    queue.delete(&received.receipts).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn bytes_make_requests_smaller_and_a_request_that_is_too_long_is_halved() {
    let server = Server::start(&["q"]).await;
    let large: Vec<_> = (0..4).map(|_| NewMessage::new(vec![b'x'; 400_000])).collect();
    server.queue("q").send(&large).await.unwrap();
    assert_eq!(server.calls("SendMessageBatch").len(), 2);
    server.fail("SendMessageBatch", Fault::Code(400, "BatchRequestTooLong"));
    server.queue("q").send(&messages(5)).await.unwrap();
    assert_eq!(server.calls("SendMessageBatch").len(), 5);
    assert_eq!(server.bodies("q").len(), 9);
}

#[tokio::test]
async fn a_failed_delete_is_only_a_redelivery() {
    let (server, queue) = with_messages(12).await;
    let received = queue.receive(WISH).await.unwrap();
    server.fail("DeleteMessageBatch", Fault::Entries(vec![0], "InternalError", false));
    server.fail("DeleteMessageBatch", Fault::Entries(vec![1], "ReceiptHandleIsInvalid", true));
    assert_eq!(queue.delete(&received.receipts).await.unwrap(), 1);
    assert_eq!(server.bodies("q").len(), 1);
}

#[tokio::test]
async fn hidden_messages_can_be_shown_again_and_those_that_are_gone_do_no_harm() {
    let (_server, queue) = with_messages(3).await;
    let received = queue.receive(WISH).await.unwrap();
    let (first, others) = received.receipts.clone().part(|id| id == received.messages[0].id);
    queue.delete(&first).await.unwrap();
    queue.hide(&received.receipts, Duration::ZERO).await.unwrap();
    let again = queue.receive(WISH).await.unwrap();
    assert_eq!(again.receipts.ids().collect::<Vec<_>>(), others.ids().collect::<Vec<_>>());
    assert!(again.messages.iter().all(|message| message.receive_count == 2));
}

#[tokio::test]
async fn what_a_person_must_mend_is_said_and_not_tried_again() {
    let server = Server::start(&["q"]).await;
    let error = server.queue("other").send(&messages(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("region"), "{error}");
    server.fail("ReceiveMessage", Fault::Code(403, "AccessDeniedException"));
    let error = server.queue("q").receive(WISH).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("role"), "{error}");
    assert_eq!(server.calls("ReceiveMessage").len(), 1);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let server = Server::start(&["q"]).await;
    let queue = server.queue("q");
    let endpoint = server.endpoint.clone();
    drop(server);
    while tokio::net::TcpStream::connect(endpoint.trim_start_matches("http://")).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let error = queue.depth().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("endpoint"), "{error}");
}

#[tokio::test]
async fn fifo_queues_get_groups_and_know_repetitions() {
    let server = Server::start(&["q.fifo"]).await;
    let mut sent = messages(2);
    sent[0].attributes = BTreeMap::from([("MessageGroupId".to_owned(), "g".to_owned())]);
    server.fail("SendMessageBatch", Fault::LostAnswer);
    server.queue("q.fifo").send(&sent).await.unwrap();
    let calls = server.calls("SendMessageBatch");
    let entries = calls[0]["Entries"].as_array().unwrap();
    assert_eq!(
        (entries[0]["MessageGroupId"].as_str(), entries[1]["MessageGroupId"].as_str()),
        (Some("g"), Some("headwater"))
    );
    assert_ne!(entries[0]["MessageDeduplicationId"], entries[1]["MessageDeduplicationId"]);
    assert_eq!(calls[0]["Entries"], calls[1]["Entries"], "the repetition is known as one");
}

#[tokio::test]
async fn dead_letters_are_counted_and_come_back_as_the_messages_that_they_were() {
    let (server, queue) = with_messages(25).await;
    server.dead_letters("q", "dead", 1);
    let first = queue.receive(WISH).await.unwrap();
    queue.hide(&first.receipts, Duration::ZERO).await.unwrap();
    assert!(queue.receive(Wish { wait: Duration::ZERO, ..WISH }).await.unwrap().messages.is_empty());
    while queue.depth().await.unwrap().waiting > 0 {
        queue.receive(WISH).await.unwrap();
    }
    assert_eq!(queue.depth().await.unwrap(), Depth { waiting: 0, in_flight: 0, dead: 25 });
    let dead = queue.dead_letters().await.unwrap().unwrap();
    server.show("dead");
    server.fail("SendMessageBatch", Fault::Entries(vec![3], "InvalidMessageContents", true));
    let (_keep, stop) = watch::channel(false);
    let redriven = dead.redrive_to(&queue, |_| {}, &stop).await.unwrap();
    assert_eq!(redriven, Redriven { returned: 24, refused: 1, left: 0 });
    assert_eq!((server.bodies("q").len(), server.bodies("dead").len()), (24, 1));
    let again = queue.receive(WISH).await.unwrap();
    let known: BTreeMap<&str, &Bytes> =
        first.messages.iter().map(|message| (message.id.as_str(), &message.body)).collect();
    for message in &again.messages {
        assert_eq!(known[message.id.as_str()], &message.body);
        assert_eq!(message.receive_count, 2, "so that it is looked up");
    }
    queue.delete(&again.receipts).await.unwrap();
    assert!(server.bodies("q").is_empty());
}

#[tokio::test]
async fn a_dead_letter_that_could_not_be_deleted_comes_back_twice_as_one_message() {
    let (server, queue) = with_messages(0).await;
    let dead = server.queue("dead");
    dead.send(&messages(1)).await.unwrap();
    server.fail("DeleteMessageBatch", Fault::Entries(vec![0], "ReceiptHandleIsInvalid", true));
    let (_keep, stop) = watch::channel(false);
    assert_eq!(dead.redrive_to(&queue, |_| {}, &stop).await.unwrap(), Redriven { returned: 1, refused: 0, left: 1 });
    server.show("dead");
    assert_eq!(dead.redrive_to(&queue, |_| {}, &stop).await.unwrap(), Redriven { returned: 1, refused: 0, left: 0 });
    let received = queue.receive(WISH).await.unwrap();
    assert_eq!(received.messages.len(), 2);
    assert_eq!(received.messages[0].id, received.messages[1].id);
    assert_eq!(queue.delete(&received.receipts).await.unwrap(), 0);
    assert!(server.bodies("q").is_empty(), "both deliveries are deleted");
}

#[test]
fn addresses_are_shown_without_what_they_are_reached_by() {
    let queue = Queue::new(QueueAddress::parse("sqs://q?region=eu-west-1&endpoint=http://u:p@h").unwrap());
    assert_eq!(queue.address().to_string(), "sqs://q");
}
