//! What storage says when it fails, in few words, and what to do about it.

use headwater_core::redact::redacted;

/// What the texts of storage's errors have in common, whether trying again may help, and what does.
struct Remedy {
    signs: &'static [&'static str],
    is_lasting: bool,
    help: &'static str,
}

/// The first that fits counts.
const REMEDIES: [Remedy; 11] = [
    Remedy {
        signs: &["os error 28", "os error 122"],
        is_lasting: true,
        help: "the disk is full; make room and run again, nothing was lost",
    },
    Remedy {
        signs: &["os error 27"],
        is_lasting: true,
        help: "files may not grow so large here; raise the limit (`ulimit -f`) and run again, nothing was lost",
    },
    Remedy {
        signs: &["os error 30"],
        is_lasting: true,
        help: "the file system is read-only; choose another `storage`",
    },
    Remedy {
        signs: &["NoSuchBucket", "ContainerNotFound"],
        is_lasting: true,
        help: "make the bucket, or mend its name in `storage`",
    },
    Remedy {
        signs: &["Error performing token request", "az account get-access-token", "federated token file"],
        is_lasting: false,
        help: "no identity answers for these credentials; give AZURE_CLIENT_ID if there are several, set AZURE_USE_AZURE_CLI=true after `az login`, or set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
    },
    Remedy {
        signs: &["AuthorizationFailure"],
        is_lasting: true,
        help: "check that the credentials are right and haven't ended (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or an identity), and that the account's network rules let this machine in",
    },
    Remedy {
        signs: &["without LOCATION", "PermanentRedirect", "AuthorizationHeaderMalformed"],
        is_lasting: true,
        help: "set AWS_REGION to the bucket's region",
    },
    Remedy {
        signs: &[
            "lacked valid authentication credentials",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "ExpiredToken",
            "AuthenticationFailed",
        ],
        is_lasting: true,
        help: "check the credentials: AWS_PROFILE or AWS_ACCESS_KEY_ID and its secret for S3; AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_ID or AZURE_USE_AZURE_CLI=true for Azure",
    },
    Remedy {
        signs: &["os error 13"],
        is_lasting: true,
        help: "this user may not write there; change the folder's permissions or choose another `storage`",
    },
    Remedy {
        signs: &["lacked the necessary privileges"],
        is_lasting: true,
        help: "these credentials may not do that there; change the role or the folder's permissions, or choose another `storage`",
    },
    Remedy {
        signs: &["error sending request", "dns error", "Connection refused"],
        is_lasting: false,
        help: "nothing answers there; check the network, the region and AWS_ENDPOINT_URL or AZURE_STORAGE_ENDPOINT if they are set",
    },
];

/// An error of storage for people: its text without secrets and the document that the service answered with, and the
/// remedy where the text tells.
pub(crate) fn told(text: &str) -> String {
    let brief = brief(&redacted(without_backtrace(text)));
    match find(text) {
        Some(remedy) => format!("{brief}\n  help: {}", remedy.help),
        None => brief,
    }
}

/// A text without the calls that libraries add where `RUST_BACKTRACE` is set.
pub(crate) fn without_backtrace(text: &str) -> &str {
    let before = |text, mark| <str>::split_once(text, mark).map_or(text, |(before, _)| before);
    before(before(text, "\n\nbacktrace: "), "\n   0: ").trim_end()
}

/// Whether trying again won't change it, so that a person has to act.
pub(crate) fn is_lasting(text: &str) -> bool {
    find(text).is_some_and(|remedy| remedy.is_lasting)
}

fn find(text: &str) -> Option<&'static Remedy> {
    REMEDIES.iter().find(|remedy| remedy.signs.iter().any(|sign| text.contains(sign)))
}

/// A service's XML document shortened to its code and message.
fn brief(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.lines().next().unwrap_or_default())
    };
    let (Some(start), Some(code), Some(message)) = (text.find('<'), element("Code"), element("Message")) else {
        return text.to_owned();
    };
    format!("{} {code}, {message}", text[..start].trim_end().trim_start_matches('\u{feff}'))
}
