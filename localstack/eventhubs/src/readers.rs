//! Who receives from a partition: epochs and the limit of receivers.

use tokio::sync::mpsc::UnboundedSender;

/// Receivers without an epoch that one consumer group may have on a partition.
const LIMIT: usize = 5;

/// A detach that the service makes: condition and description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) condition: &'static str,
    pub(crate) description: String,
}

/// A receiver's link.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) id: u64,
    pub(crate) group: String,
    /// Its owner level.
    pub(crate) epoch: Option<i64>,
    /// Takes the link away from its connection.
    pub(crate) expel: UnboundedSender<(u64, Refusal)>,
}

/// The receivers of a partition.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    present: Vec<Reader>,
    /// How many were ever let in.
    pub(crate) entered: u64,
}

impl Readers {
    /// Adds a receiver; one with an epoch takes the partition from those of its group with a lower or equal one.
    pub(crate) fn enter(&mut self, reader: Reader) -> Result<(), Refusal> {
        let same = |other: &&Reader| other.group == reader.group;
        let highest = self.present.iter().filter(same).filter_map(|other| other.epoch).max();
        if let Some(highest) = highest.filter(|highest| reader.epoch < Some(*highest)) {
            let description = format!("Receiver with a higher epoch '{highest}' already exists");
            return Err(Refusal { condition: "amqp:link:stolen", description });
        }
        match reader.epoch {
            None if self.present.iter().filter(same).count() >= LIMIT => {
                return Err(Refusal {
                    condition: "amqp:resource-limit-exceeded",
                    description: format!(
                        "Exceeded the maximum number of allowed receivers per partition in a consumer group which is {LIMIT}"
                    ),
                });
            }
            None => {}
            Some(epoch) => {
                let description = format!(
                    "New receiver with higher epoch of '{epoch}' is created hence current receiver is getting disconnected"
                );
                self.expel(|other| other.group == reader.group, "amqp:link:stolen", &description);
            }
        }
        self.present.push(reader);
        self.entered += 1;
        Ok(())
    }

    pub(crate) fn leave(&mut self, id: u64) {
        self.present.retain(|reader| reader.id != id);
    }

    /// Detaches receivers.
    pub(crate) fn expel(&mut self, which: impl Fn(&Reader) -> bool, condition: &'static str, description: &str) {
        self.present.retain(|reader| {
            let goes = which(reader);
            if goes {
                let refusal = Refusal { condition, description: description.to_owned() };
                // A connection that is gone has no link to take away.
                let _ = reader.expel.send((reader.id, refusal));
            }
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn an_epoch_takes_the_partition_and_keeps_lower_ones_out() {
        let (expel, mut expelled) = unbounded_channel();
        let reader = |id, epoch| Reader { id, group: "g".into(), epoch, expel: expel.clone() };
        let mut readers = Readers::default();
        readers.enter(reader(1, None)).unwrap();
        readers.enter(reader(2, Some(0))).unwrap();
        readers.enter(reader(3, Some(0))).unwrap();
        assert_eq!([expelled.try_recv().unwrap().0, expelled.try_recv().unwrap().0], [1, 2]);
        assert_eq!(readers.enter(reader(4, None)).unwrap_err().condition, "amqp:link:stolen");
        readers.leave(3);
        readers.enter(reader(5, None)).unwrap();
    }

    #[test]
    fn five_receivers_without_an_epoch_are_the_limit() {
        let (expel, _expelled) = unbounded_channel();
        let mut readers = Readers::default();
        let reader = |id| Reader { id, group: "g".into(), epoch: None, expel: expel.clone() };
        (0..5).for_each(|id| readers.enter(reader(id)).unwrap());
        assert_eq!(readers.enter(reader(5)).unwrap_err().condition, "amqp:resource-limit-exceeded");
        readers.enter(Reader { group: "h".into(), ..reader(6) }).unwrap();
    }
}
