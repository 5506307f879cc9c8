//! What errors of the client mean.

use std::error::Error;

use azure_core::http::StatusCode;
use azure_core_amqp::AmqpError;
use azure_core_amqp::error::{AmqpErrorCondition, AmqpErrorKind};
use azure_messaging_eventhubs::EventHubsError;
use azure_messaging_eventhubs::error::ErrorKind as HubErrorKind;

/// What comes of trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Another reader has taken the partition.
    Stolen,
    /// The service won't answer otherwise.
    Final,
    /// It may pass, by a new connection.
    Passing,
}

pub(super) fn fault(error: &EventHubsError) -> Fault {
    if matches!(error.kind, HubErrorKind::ConsumerDisconnected(_)) {
        return Fault::Stolen;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<AmqpError>().map(AmqpError::kind) {
            Some(AmqpErrorKind::AmqpDescribedError(described))
                if described.condition == AmqpErrorCondition::LinkStolen =>
            {
                return Fault::Stolen;
            }
            Some(AmqpErrorKind::AmqpDescribedError(described)) if is_final(&described.condition) => {
                return Fault::Final;
            }
            Some(AmqpErrorKind::ManagementStatusCode(status, _)) if is_refusal(*status) => return Fault::Final,
            _ => cause = error.source(),
        }
    }
    Fault::Passing
}

const fn is_final(condition: &AmqpErrorCondition) -> bool {
    matches!(
        condition,
        AmqpErrorCondition::NotFound
            | AmqpErrorCondition::UnauthorizedAccess
            | AmqpErrorCondition::EntityDisabledError
            | AmqpErrorCondition::ArgumentError
            | AmqpErrorCondition::ArgumentOutOfRangeError
    )
}

fn is_refusal(status: StatusCode) -> bool {
    [StatusCode::Unauthorized, StatusCode::Forbidden, StatusCode::NotFound, StatusCode::BadRequest].contains(&status)
}
