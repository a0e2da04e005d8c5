//! What must hold of every answer.

use foliomq_proto::v2::Code as StatusCode;
use tonic::Code;

use super::call::{Answer, Call};
use super::read::{Seen, walk};
use super::schema::{Field, Kind, Method, Schema};

const STATUS: &str = ".apache.rocketmq.v2.Status";
const V2: &str = "/apache.rocketmq.v2.";
/// Of the broker's failures, not of a client's mistakes.
const FAILURES: [StatusCode; 5] = [
    StatusCode::Unspecified,
    StatusCode::InternalError,
    StatusCode::InternalServerError,
    StatusCode::ProxyTimeout,
    StatusCode::MasterPersistenceTimeout,
];

/// Whose status is what a connected client said of itself.
const PASSED_ON: [&str; 2] = ["/PrintThreadStackTrace", "/VerifyMessage"];

/// What is wrong with the answer to a well-formed request, if anything is.
pub fn fault(schema: &Schema, method: &Method, call: &Call, answer: &Answer) -> Option<String> {
    if answer.http != 200 {
        return Some(format!("HTTP {}", answer.http));
    }
    let code = answer
        .grpc
        .as_ref()
        .map(|(code, text)| (Code::from_i32(*code), text));
    match code {
        None if call.endless || call.held_open => {}
        None => return Some("the answer ends without a status".to_owned()),
        Some((code, text)) if !allowed(schema, method, code) => {
            return Some(format!("gRPC {code:?}: {text}"));
        }
        Some((Code::Ok, _)) => return ok_fault(schema, method, answer),
        Some(_) => {}
    }
    contents_fault(schema, method, answer)
}

/// What is wrong with the answer to bytes that are no request.
pub fn fault_of_garbage(answer: &Answer) -> Option<String> {
    let code = Code::from_i32(answer.grpc.as_ref()?.0);
    // gRPC has INTERNAL for requests that cannot be parsed.
    let broken = matches!(code, Code::Unknown | Code::Unavailable | Code::DataLoss);
    broken.then(|| format!("gRPC {code:?}"))
}

/// Errors of the v2 protocol are in its messages; those of our own administration are gRPC's.
fn allowed(schema: &Schema, method: &Method, code: Code) -> bool {
    match code {
        Code::Ok => true,
        Code::Unknown | Code::Internal | Code::Unavailable | Code::DataLoss => false,
        // A request too large to be read.
        Code::OutOfRange | Code::ResourceExhausted => true,
        // Some answers have no room for a status.
        Code::Unimplemented | Code::InvalidArgument if status_field(schema, method).is_none() => {
            true
        }
        Code::InvalidArgument => {
            !method.path.starts_with(V2) || method.path.ends_with("/Telemetry")
        }
        _ => !method.path.starts_with(V2),
    }
}

fn status_field<'a>(schema: &'a Schema, method: &Method) -> Option<&'a Field> {
    let mut fields = schema.fields(&method.output).iter();
    fields.find(|field| matches!(&field.kind, Kind::Message(name) if name == STATUS))
}

/// A unary call has one answer, and a v2 answer begins with a status.
fn ok_fault(schema: &Schema, method: &Method, answer: &Answer) -> Option<String> {
    if !method.streams_out && answer.messages.len() != 1 {
        return Some(format!("{} answers", answer.messages.len()));
    }
    let must = method.path.starts_with(V2) && !method.streams_in;
    if let (true, Some(status)) = (must, status_field(schema, method)) {
        let key = u8::try_from(status.number << 3 | 2).ok();
        let first = answer.messages.first();
        if first.and_then(|first| first.first().copied()) != key {
            return Some("the answer does not begin with a status".to_owned());
        }
    }
    contents_fault(schema, method, answer)
}

/// Every message of the answer is what it should be, and every status a known one and the caller's doing.
fn contents_fault(schema: &Schema, method: &Method, answer: &Answer) -> Option<String> {
    let mut fault = None;
    for message in &answer.messages {
        let walked = walk(schema, &method.output, message, &mut |_, field, seen| {
            if let (Kind::Message(name), Seen::Message(status)) = (&field.kind, seen)
                && name == STATUS
            {
                let passed_on = PASSED_ON.iter().any(|end| method.path.ends_with(end));
                fault = fault.take().or_else(|| status_fault(status, passed_on));
            }
        });
        if let Err(error) = walked {
            return Some(format!("an answer that cannot be read: {error}"));
        }
    }
    fault
}

fn status_fault(bytes: &[u8], passed_on: bool) -> Option<String> {
    let status = match <foliomq_proto::v2::Status as prost::Message>::decode(bytes) {
        Ok(status) => status,
        Err(error) => return Some(format!("a status that cannot be read: {error}")),
    };
    match StatusCode::try_from(status.code) {
        Ok(code) if FAILURES.contains(&code) && !passed_on => {
            Some(format!("{code:?}: {}", status.message))
        }
        Ok(_) => None,
        Err(_) => Some(format!("the unknown code {}", status.code)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use foliomq_proto::v2::{HeartbeatResponse, Status};
    use prost::Message;

    use super::*;

    fn judged(http: u16, grpc: i32, status: Option<StatusCode>) -> Option<String> {
        let schema = Schema::new().unwrap();
        let mut methods = schema.methods.iter();
        let method = methods
            .find(|method| method.path.ends_with("/Heartbeat"))
            .unwrap();
        let status = status.map(|code| Status {
            code: code.into(),
            message: String::new(),
        });
        let answer = Answer {
            http,
            grpc: Some((grpc, String::new())),
            messages: vec![Bytes::from(HeartbeatResponse { status }.encode_to_vec())],
        };
        let call = Call {
            path: method.path.clone(),
            headers: Vec::new(),
            body: Vec::new(),
            held_open: false,
            endless: false,
            abandoned: None,
            limit: std::time::Duration::ZERO,
        };
        fault(&schema, method, &call, &answer)
    }

    #[test]
    fn tells_good_from_bad() {
        assert_eq!(judged(200, 0, Some(StatusCode::Ok)), None);
        assert_eq!(judged(200, 0, Some(StatusCode::IllegalTopic)), None);
        assert!(judged(200, 0, None).is_some(), "no status");
        assert!(judged(500, 0, Some(StatusCode::Ok)).is_some());
        assert!(judged(200, 13, Some(StatusCode::Ok)).is_some(), "INTERNAL");
        assert!(
            judged(200, 5, Some(StatusCode::Ok)).is_some(),
            "an error outside of the message"
        );
        assert!(judged(200, 0, Some(StatusCode::InternalServerError)).is_some());
        assert!(judged(200, 0, Some(StatusCode::Unspecified)).is_some());
    }
}
