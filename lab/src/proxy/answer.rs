//! Answers that the proxy gives itself, in the form of the service.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;

use super::call::{Call, Service};
use super::faults::Fault;

/// An error in the form of the service that was called.
pub(super) fn error(call: &Call, status: StatusCode, code: &str, message: &str) -> Response {
    let (code, message) = (escaped(code), escaped(message));
    let body = match call.service {
        Service::Route53 => format!(
            "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>lab</RequestId></ErrorResponse>"
        ),
        Service::Ec2 | Service::Other => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code>\
             <Message>{message}</Message></Error></Errors><RequestID>lab</RequestID></Response>"
        ),
    };
    xml(status, body)
}

/// The answer of an injected fault.
pub(super) fn fault(call: &Call, fault: &Fault) -> Response {
    let message = fault.message.as_deref().unwrap_or("injected by the lab");
    error(call, fault.status(), &fault.code, message)
}

fn xml(status: StatusCode, body: String) -> Response {
    plain(status, "text/xml;charset=UTF-8", body)
}

fn plain(status: StatusCode, kind: &str, body: String) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", kind)
        .body(Body::from(body))
        .expect("status and header are valid")
}

/// The request cannot be understood.
pub(super) fn bad_request(why: &str) -> Response {
    plain(StatusCode::BAD_REQUEST, "text/plain", format!("{why}\n"))
}

/// The lab itself failed.
pub(super) fn internal(why: &str) -> Response {
    plain(
        StatusCode::BAD_GATEWAY,
        "text/plain",
        format!("the lab: {why}\n"),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
