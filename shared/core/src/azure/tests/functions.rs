use chrono::TimeDelta;

use super::*;
use crate::azure::function_timeout;
use crate::error::ErrorKind;

#[test]
fn a_function_has_the_trigger_of_its_document() {
    let read = |bindings: Value| Function::read("silver", &json!({"bindings": bindings}).to_string());
    let queue = read(json!([{"type": "queueTrigger", "name": "notice", "direction": "in", "queueName": "commits"}]));
    assert_eq!(
        queue.unwrap(),
        Function {
            name: "silver".to_owned(),
            trigger: TriggerKind::Queue,
            binding: "notice".to_owned(),
            is_binary: false
        }
    );
    let hub =
        read(json!([{"type": "blob", "name": "b"}, {"type": "EventHubTrigger", "name": "e", "dataType": "binary"}]));
    let hub = hub.unwrap();
    assert_eq!((hub.trigger, hub.is_binary), (TriggerKind::EventHub, true));
    for bindings in [json!([]), json!([{"type": "httpTrigger", "name": "request"}])] {
        let error = read(bindings).unwrap_err();
        assert!(error.to_string().contains("timerTrigger"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert!(Function::read("silver", "{\"bindings\": 1}").is_err());
}

#[test]
fn a_time_out_is_as_the_host_reads_it() {
    let timeout = |text: &str| function_timeout(&json!({"version": "2.0", "functionTimeout": text}).to_string());
    for (text, seconds) in [("00:10:00", 600), ("01:00:05", 3_605), ("1.00:00:00", 86_400)] {
        assert_eq!(timeout(text).unwrap(), Some(TimeDelta::seconds(seconds)), "{text}");
    }
    assert_eq!(timeout("-1").unwrap(), None);
    assert_eq!(function_timeout("{}").unwrap(), Some(TimeDelta::minutes(5)));
    for text in ["", "10", "00:00:00", "00:-1:00", "4294967296.00:00:00", "4294967295.4294967295:0", "a:b:c"] {
        assert!(timeout(text).is_err(), "{text}");
    }
}

#[test]
fn a_timer_is_one_whatever_it_says() {
    let timer = function(TriggerKind::Timer);
    let data = json!({"Data": {"item": {"Schedule": {}, "ScheduleStatus": null, "IsPastDue": false}}, "Metadata": {}});
    for document in [data, json!({"Data": {"item": "\"by hand\""}}), json!({})] {
        assert_eq!(read(&document, &timer).unwrap(), Invocation::Timer);
    }
    assert!(Invocation::read(b"", &timer).is_err());
}
