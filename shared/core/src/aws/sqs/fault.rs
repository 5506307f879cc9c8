//! What an error of SQS means, by its code.

use crate::error::ErrorKind;

/// What the caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind.
    pub kind: ErrorKind,
    /// What a person can do, to follow the error's text.
    pub remedy: &'static str,
}

/// What an error means whose code is this, with or without the service's prefix.
#[must_use]
pub fn of_code(code: &str) -> Fault {
    let code = code.rsplit(['.', '#']).next().unwrap_or(code);
    let invalid = |remedy| Fault { kind: ErrorKind::Invalid, remedy };
    match code {
        "QueueDoesNotExist" | "NonExistentQueue" | "QueueDeletedRecently" => {
            invalid("check the queue's name, its account and its region (`?region=…` or AWS_REGION)")
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedAccess" | "NotAuthorized" => {
            invalid("allow the caller's role or user the action on this queue, and look at the queue's own policy")
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "InvalidSecurity"
        | "MissingAuthenticationToken" => {
            invalid("the credentials are wrong or not for this account and region; check AWS_PROFILE or the keys")
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" | "OptInRequired" => {
            invalid("sign in again, such as by `aws sso login`, and look at this machine's clock")
        }
        "KmsAccessDenied" | "KmsDisabled" | "KmsInvalidKeyUsage" | "KmsInvalidState" | "KmsNotFound"
        | "KmsOptInRequired" => invalid("the queue's encryption key can't be used; check the key's policy and state"),
        "InvalidAddress"
        | "InvalidAttributeName"
        | "InvalidAttributeValue"
        | "InvalidMessageContents"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "UnsupportedOperation"
        | "BatchRequestTooLong" => invalid("the request was refused as it is"),
        _ => Fault { kind: ErrorKind::Unavailable, remedy: "try again later" },
    }
}

/// What a request without credentials means.
pub const NO_CREDENTIALS: Fault = Fault {
    kind: ErrorKind::Invalid,
    remedy: "there are no AWS credentials; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in by `aws sso login`",
};

/// What a request without a region means.
pub const NO_REGION: Fault = Fault {
    kind: ErrorKind::Invalid,
    remedy: "there is no region; add `?region=<region>` to the queue's address or set AWS_REGION",
};

/// What a request that got no answer means.
pub const NO_ANSWER: Fault = Fault {
    kind: ErrorKind::Unavailable,
    remedy: "nothing answers; check the network, the region and the endpoint (`?endpoint=…` or AWS_ENDPOINT_URL), and try again",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_isnt_tried_for_ever() {
        for code in ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "AccessDenied", "ExpiredToken"] {
            assert_eq!(of_code(code).kind, ErrorKind::Invalid, "{code}");
        }
        for code in ["RequestThrottled", "InternalError", "OverLimit", ""] {
            assert_eq!(of_code(code).kind, ErrorKind::Unavailable, "{code}");
        }
    }

    #[test]
    fn each_fault_has_its_own_remedy() {
        assert!(of_code("com.amazonaws.sqs#QueueDoesNotExist").remedy.contains("region"));
        assert!(of_code("AccessDenied").remedy.contains("role"));
        assert!(of_code("KmsDisabled").remedy.contains("key"));
    }
}
