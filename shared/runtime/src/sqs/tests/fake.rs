//! A stand-in for SQS in this process: its JSON protocol, as far as it is used, with faults on demand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::{Client, config};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use chrono::Utc;
use headwater_core::aws::sqs::QueueAddress;
use serde_json::{Value, json};

use super::super::{Queue, client};

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing is done; the service says this code.
    Code(u16, &'static str),
    /// It is done, but nobody hears of it.
    LostAnswer,
    /// It is done later than anybody waits for.
    Hang,
    /// The entries at these places fail with this code, by the sender's fault or not.
    Entries(Vec<usize>, &'static str, bool),
}

#[derive(Debug, Default)]
struct Waiting {
    id: String,
    body: String,
    attributes: Value,
    group: Option<String>,
    sent: i64,
    count: u32,
    hidden_until: Option<Instant>,
    receipt: String,
}

#[derive(Debug, Default)]
struct Fake {
    queues: BTreeMap<String, Vec<Waiting>>,
    policies: BTreeMap<String, (String, u32)>,
    faults: VecDeque<(&'static str, Fault)>,
    calls: Vec<(String, Value)>,
    ids: u64,
}

/// The server, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Server {
    fake: Arc<Mutex<Fake>>,
    pub(crate) endpoint: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves empty queues of these names.
    pub(crate) async fn start(queues: &[&str]) -> Self {
        let fake = Arc::new(Mutex::new(Fake::default()));
        fake.lock().unwrap().queues = queues.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&fake));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { fake, endpoint, task }
    }

    /// A queue of it, whose single request takes three seconds at most.
    pub(crate) fn queue(&self, name: &str) -> Queue {
        let conf = config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url(&self.endpoint)
            .timeout_config(client::timeouts(Duration::from_secs(3)))
            .retry_config(client::retries().with_initial_backoff(Duration::from_millis(10)));
        let address = QueueAddress::parse(&format!("sqs://{name}")).unwrap();
        Queue::with_client(address, Some(Client::from_conf(conf.build())))
    }

    /// The next request of that action goes wrong.
    pub(crate) fn fail(&self, action: &'static str, fault: Fault) {
        self.fake.lock().unwrap().faults.push_back((action, fault));
    }

    /// Messages of a queue that were received so often go to another one.
    pub(crate) fn dead_letters(&self, queue: &str, to: &str, after: u32) {
        self.fake.lock().unwrap().policies.insert(queue.to_owned(), (to.to_owned(), after));
    }

    /// Shows all hidden messages of a queue, as if their time were over.
    pub(crate) fn show(&self, queue: &str) {
        let mut fake = self.fake.lock().unwrap();
        fake.queues.get_mut(queue).unwrap().iter_mut().for_each(|message| message.hidden_until = None);
    }

    /// Bodies in a queue, sorted.
    pub(crate) fn bodies(&self, queue: &str) -> Vec<String> {
        let fake = self.fake.lock().unwrap();
        let mut bodies: Vec<_> = fake.queues[queue].iter().map(|message| message.body.clone()).collect();
        bodies.sort();
        bodies
    }

    /// Documents of the requests of an action.
    pub(crate) fn calls(&self, action: &str) -> Vec<Value> {
        let fake = self.fake.lock().unwrap();
        fake.calls.iter().filter(|(called, _)| called == action).map(|(_, document)| document.clone()).collect()
    }
}

async fn answer(State(fake): State<Arc<Mutex<Fake>>>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let target = headers["x-amz-target"].to_str().unwrap();
    let action = target.rsplit('.').next().unwrap();
    let document: Value = serde_json::from_str(&body).unwrap();
    let (fault, done) = {
        let mut fake = fake.lock().unwrap();
        fake.calls.push((action.to_owned(), document.clone()));
        let at = fake.faults.iter().position(|(of, _)| *of == action);
        let fault = at.and_then(|at| fake.faults.remove(at)).map(|(_, fault)| fault);
        if let Some(Fault::Code(status, code)) = fault {
            return error(status, code);
        }
        let failing = match &fault {
            Some(Fault::Entries(places, code, is_senders)) => (places.clone(), *code, *is_senders),
            _ => (Vec::new(), "", false),
        };
        (fault, fake.act(action, &document, &failing))
    };
    match fault {
        Some(Fault::LostAnswer) => return error(500, "InternalFailure"),
        Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(30)).await,
        _ => {}
    }
    done.map_or_else(|code| error(400, code), |answer| (StatusCode::OK, answer.to_string()))
}

fn error(status: u16, code: &str) -> (StatusCode, String) {
    let document = json!({"__type": format!("com.amazonaws.sqs#{code}"), "message": "the service's own words"});
    (StatusCode::from_u16(status).unwrap(), document.to_string())
}

type Failing = (Vec<usize>, &'static str, bool);

impl Fake {
    fn act(&mut self, action: &str, document: &Value, failing: &Failing) -> Result<Value, &'static str> {
        let url = document["QueueUrl"].as_str().or(document["QueueName"].as_str()).unwrap();
        let name = url.rsplit('/').next().unwrap().to_owned();
        if !self.queues.contains_key(&name) {
            return Err("QueueDoesNotExist");
        }
        Ok(match action {
            "GetQueueUrl" => json!({"QueueUrl": format!("http://sqs/000000000000/{name}")}),
            "GetQueueAttributes" => self.attributes(&name),
            "ReceiveMessage" => self.receive(&name, document),
            _ => self.entries(&name, action, document, failing)?,
        })
    }

    fn entries(
        &mut self,
        name: &str,
        action: &str,
        document: &Value,
        (places, code, is_senders): &Failing,
    ) -> Result<Value, &'static str> {
        let entries = document["Entries"].as_array().unwrap();
        let bytes: usize = entries.iter().filter_map(|entry| Some(entry["MessageBody"].as_str()?.len())).sum();
        if entries.len() > 10 || bytes > 1 << 20 {
            return Err("BatchRequestTooLong");
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            if places.contains(&place) {
                failed.push(json!({"Id": entry["Id"], "Code": code, "SenderFault": is_senders}));
            } else if self.entry(name, action, entry) {
                successful.push(json!({"Id": entry["Id"], "MessageId": "m", "MD5OfMessageBody": ""}));
            } else {
                failed.push(json!({"Id": entry["Id"], "Code": "ReceiptHandleIsInvalid", "SenderFault": true}));
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }

    fn entry(&mut self, name: &str, action: &str, entry: &Value) -> bool {
        self.ids += 1;
        let id = format!("id-{}", self.ids);
        let queue = self.queues.get_mut(name).unwrap();
        let receipt = entry["ReceiptHandle"].as_str();
        let at = queue.iter().position(|message| Some(message.receipt.as_str()) == receipt);
        match (action, at) {
            ("SendMessageBatch", _) => queue.push(Waiting {
                id,
                body: entry["MessageBody"].as_str().unwrap().to_owned(),
                attributes: entry["MessageAttributes"].clone(),
                group: entry["MessageGroupId"].as_str().map(ToOwned::to_owned),
                sent: Utc::now().timestamp_millis(),
                ..Waiting::default()
            }),
            ("DeleteMessageBatch", Some(at)) => drop(queue.remove(at)),
            ("ChangeMessageVisibilityBatch", Some(at)) => {
                let hidden = Duration::from_secs(entry["VisibilityTimeout"].as_u64().unwrap());
                queue[at].hidden_until = Some(Instant::now() + hidden);
            }
            _ => return false,
        }
        true
    }

    fn attributes(&self, name: &str) -> Value {
        let queue = &self.queues[name];
        let is_hidden = |message: &&Waiting| message.hidden_until.is_some_and(|until| until > Instant::now());
        let hidden = queue.iter().filter(is_hidden).count();
        let mut attributes = json!({
            "ApproximateNumberOfMessages": (queue.len() - hidden).to_string(),
            "ApproximateNumberOfMessagesNotVisible": hidden.to_string(),
            "ApproximateNumberOfMessagesDelayed": "0",
        });
        if let Some((to, after)) = self.policies.get(name) {
            let policy = json!({"deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:000000000000:{to}"), "maxReceiveCount": after});
            attributes["RedrivePolicy"] = policy.to_string().into();
        }
        json!({"Attributes": attributes})
    }

    fn receive(&mut self, name: &str, document: &Value) -> Value {
        let most = document["MaxNumberOfMessages"].as_u64().unwrap() as usize;
        let hidden = Duration::from_secs(document["VisibilityTimeout"].as_u64().unwrap());
        let now = Instant::now();
        let policy = self.policies.get(name).cloned();
        let (mut given, mut dead) = (Vec::new(), Vec::new());
        let queue = self.queues.get_mut(name).unwrap();
        for message in
            queue.iter_mut().filter(|message| message.hidden_until.is_none_or(|until| until <= now)).take(most)
        {
            message.count += 1;
            if policy.as_ref().is_some_and(|(_, after)| message.count > *after) {
                dead.push(message.id.clone());
                continue;
            }
            self.ids += 1;
            message.receipt = format!("receipt-{}", self.ids);
            message.hidden_until = Some(now + hidden);
            given.push(json!({
                "MessageId": message.id, "Body": message.body, "ReceiptHandle": message.receipt,
                "MessageAttributes": message.attributes,
                "Attributes": {
                    "SentTimestamp": message.sent.to_string(), "ApproximateReceiveCount": message.count.to_string(),
                    "MessageGroupId": message.group.clone().unwrap_or_default(),
                },
            }));
        }
        if let Some((to, _)) = policy {
            let (moved, kept) = std::mem::take(queue).into_iter().partition(|message| dead.contains(&message.id));
            *queue = kept;
            self.queues.get_mut(&to).unwrap().extend::<Vec<_>>(moved);
        }
        json!({"Messages": given})
    }
}
