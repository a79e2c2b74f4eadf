//! The head of a request: whom it is for, who sends it, how long it may take, what it is called.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;

use crate::access::Keys;
use crate::config::Listen;
use crate::connect::Purpose;
use crate::error::{Kind, Refusal, Result, short};
use crate::schedule::Client;
use crate::state::Server;

/// Checks the name by which the request calls the server. A page of the web may let its own name lead to this
/// machine, and a browser takes what answers there for a part of the page; the name gives it away.
///
/// # Errors
/// [`Kind::WrongHost`], and [`Kind::Malformed`] for more than one name: whoever stands in front of the server may
/// have looked at another one.
pub(super) fn check_host(server: &Server, purpose: Purpose, head: &Parts) -> Result<()> {
    if head.headers.get_all(HOST).iter().count() > 1 {
        return Err(Refusal::malformed("there is more than one host header; expected one").closing());
    }
    let config = &server.config;
    let listen = match purpose {
        Purpose::Everything => Some(&config.listen),
        Purpose::Health => config.health_listen.as_ref(),
        #[cfg(feature = "grpc")]
        Purpose::Grpc => config.grpc_listen.as_ref(),
    };
    let on_loopback = matches!(listen, Some(Listen::Tcp(address)) if address.ip().is_loopback());
    let allowed = &config.allowed_hosts;
    // A page has no key, so whoever has one is no page that was led here. Health asks for no key.
    let by_key = purpose != Purpose::Health && server.keys().is_some();
    if purpose == Purpose::Health && !on_loopback {
        return Ok(());
    }
    if allowed.is_empty() && (!on_loopback || by_key) || allowed.iter().any(|name| name == "*") {
        return Ok(());
    }
    let header = head.headers.get(HOST).map(|host| host.to_str().unwrap_or("?"));
    // Browsers always send it.
    let Some(host) = head.uri.authority().map(|authority| authority.as_str()).or(header) else {
        return Ok(());
    };
    let name = without_port(host).to_ascii_lowercase();
    // An address is no name that could lead elsewhere.
    if allowed.contains(&name) || is_address(&name) || on_loopback && is_this_machine(&name) {
        return Ok(());
    }
    let shown = short(&name);
    let message =
        format!("the request is for the host {shown:?}, which is no name of this server (--allowed-hosts)");
    Err(Refusal::new(Kind::WrongHost, "wrong_host", message).closing())
}

fn without_port(host: &str) -> &str {
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    host.get(..end.unwrap_or(host.len())).unwrap_or(host)
}

fn is_address(name: &str) -> bool {
    name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

fn is_this_machine(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Returns the origin of the page that sends the request, if its pages may use the server.
pub(super) fn allowed_origin(server: &Server, headers: &HeaderMap) -> Option<HeaderValue> {
    let allowed = &server.config.cors_origins;
    let origin = headers.get(hyper::header::ORIGIN).filter(|_| !allowed.is_empty())?;
    if allowed.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let text = origin.to_str().ok()?.to_ascii_lowercase();
    allowed.contains(&text).then(|| origin.clone())
}

/// Returns whom the request counts for.
///
/// # Errors
/// [`Kind::Unauthorized`].
pub(super) fn authorized(server: &Server, client: Client, headers: &HeaderMap) -> Result<Client> {
    match server.keys() {
        Some(keys) => key_of(&keys, headers).map(Client::Key),
        None => Ok(client),
    }
}

/// Returns the number of the key that a request has.
///
/// # Errors
/// [`Kind::Unauthorized`].
pub(super) fn key_of(keys: &Keys, headers: &HeaderMap) -> Result<usize> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let value = value.as_bytes();
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let key = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    key.and_then(|key| keys.find(key)).ok_or_else(|| {
        let message = "an API key is needed; send `authorization: Bearer KEY`";
        Refusal::new(Kind::Unauthorized, "invalid_api_key", message).closing()
    })
}

/// Returns the time that the request may take.
pub(super) fn deadline(server: &Server, headers: &HeaderMap) -> Result<Duration> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let config = &server.config;
    match text("x-deadline-ms").map(str::parse::<u64>) {
        Some(Ok(millis)) if millis > 0 => return Ok(Duration::from_millis(millis).min(config.max_deadline)),
        Some(_) => {
            let message = "x-deadline-ms is not a whole number of milliseconds, at least 1";
            return Err(Refusal::invalid("x-deadline-ms", message).closing());
        }
        None => {}
    }
    // OpenAI's clients say how many seconds they wait, which is ten minutes unless somebody chose another
    // number. So it can only make the deadline earlier.
    let seconds = text("x-stainless-read-timeout").and_then(|seconds| seconds.parse::<f64>().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let time = time.filter(|time| !time.is_zero()).unwrap_or(config.deadline);
    Ok(time.min(config.deadline))
}

/// Returns the client's name for the request if it is a harmless one, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let harmless =
        |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    given.filter(harmless).map_or_else(
        || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            format!("{:x}-{:x}", now.as_micros(), NEXT.fetch_add(1, Ordering::Relaxed))
        },
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        for name in ["localhost", "a.localhost", "127.0.0.1", "10.1.2.3", "[::1]"] {
            assert!(is_this_machine(name) || is_address(name), "{name}");
        }
        for name in ["example.org", "localhost.example.org", "127.0.0.1.example.org", "", "127.1"] {
            assert!(!is_this_machine(name) && !is_address(name), "{name}");
        }
        for (host, name) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("[", "[")]
        {
            assert_eq!(without_port(host), name);
        }
    }
}
