//! REQUESTS AS BYTES: the URL, the body with the texts of a dataset in it, and the head, made before the
//! clock runs.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use mobilebert_tools::task::Dataset;

use crate::failure::Failure;

/// How many different requests are made, in rotation.
const REQUESTS: usize = 1024;

/// The longest wait for one of several addresses of a host.
const PATIENCE: Duration = Duration::from_secs(1);

/// The body of a question, a text, or a pair of texts in the native routes of the server.
const QUESTION: &str = r#"{"question":{question},"context":{context}}"#;
const TEXT: &str = r#"{"inputs":{text}}"#;
const PAIR: &str = r#"{"inputs":[[{text},{pair}]]}"#;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    host: String,
    path: String,
}

impl Target {
    /// Reads a URL and finds the address of its host. Of several, such as `::1` and `127.0.0.1` for
    /// `localhost`, it is the first that accepts a connection.
    pub(super) fn find(url: &str) -> Result<Self, Failure> {
        let (host, path) = split(url)?;
        let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let found: Vec<SocketAddr> = with_port
            .to_socket_addrs()
            .map_err(|error| Failure::Input(format!("--url: the host `{host}` has no address: {error}")))?
            .collect();
        let accepts = |address: &&SocketAddr| TcpStream::connect_timeout(address, PATIENCE).is_ok();
        let first = found.iter().find(|address| found.len() > 1 && accepts(address)).or(found.first());
        match first.copied() {
            Some(address) => Ok(Self { address, host: host.to_owned(), path: path.to_owned() }),
            None => Err(Failure::Input(format!("--url: the host `{host}` has no address"))),
        }
    }

    /// Makes the bytes of a request.
    fn request(&self, headers: &[(String, String)], body: &str) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            self.path,
            self.host,
            body.len()
        );
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        head += "\r\n";
        head += body;
        head.into_bytes()
    }
}

/// Splits a URL into its host, with the port, and its path.
fn split(url: &str) -> Result<(&str, &str), Failure> {
    let wrong = |found: &str| {
        let problem = format!("--url is `{url}`: {found}; expected http://HOST:PORT/PATH");
        Err(Failure::Usage(problem))
    };
    let Some(rest) = url.strip_prefix("http://") else {
        return wrong(if url.starts_with("https://") { "there is no TLS here" } else { "it has no scheme" });
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    if host.is_empty() || !url.bytes().all(|b| b.is_ascii_graphic()) || url.contains(['#', '@']) {
        return wrong("it is no URL of a route");
    }
    Ok((host, if path.is_empty() { "/" } else { path }))
}

/// Reads a header as the user writes it.
pub(super) fn header(text: &str) -> Result<(String, String), Failure> {
    let wrong = || Failure::Usage(format!("--header is `{text}`; expected NAME: VALUE"));
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let is_value = value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let is_ours = ["host", "content-length", "connection", "transfer-encoding"]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours));
    match is_name && is_value && !is_ours {
        true => Ok((name.to_owned(), value.to_owned())),
        false => Err(wrong()),
    }
}

/// Makes the requests of a run: one for each of the first examples, or the body alone if there are none.
pub(super) fn requests(
    target: &Target,
    headers: &[(String, String)],
    body: Option<&str>,
    data: Option<&Dataset>,
) -> Result<Vec<Vec<u8>>, Failure> {
    let bodies = match (data, body) {
        (Some(data), body) => filled(data, body)?,
        (None, Some(body)) => vec![body.to_owned()],
        (None, None) => {
            let problem = "--url needs the texts of requests: pass --task and --data, or --body";
            return Err(Failure::Usage(problem.to_owned()));
        }
    };
    for body in bodies.iter().take(1) {
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(body) {
            return Err(Failure::Usage(format!(
                "--body is no JSON once its texts are in it: {error}: {body}"
            )));
        }
    }
    Ok(bodies.iter().map(|body| target.request(headers, body)).collect())
}

/// Puts the texts of examples into the places that a body has for them.
fn filled(data: &Dataset, body: Option<&str>) -> Result<Vec<String>, Failure> {
    let examples: Vec<Vec<(&str, String)>> = match data {
        Dataset::Squad(data) => data
            .questions
            .iter()
            .take(REQUESTS)
            .map(|question| {
                let context = data.contexts.get(question.context).cloned().unwrap_or_default();
                vec![("{question}", question.question.clone()), ("{context}", context)]
            })
            .collect(),
        Dataset::Labelled(data) => data
            .examples
            .iter()
            .take(REQUESTS)
            .map(|example| {
                let pair = example.pair.clone().map(|pair| ("{pair}", pair));
                [("{text}", example.text.clone())].into_iter().chain(pair).collect()
            })
            .collect(),
        Dataset::Tagged(data) => {
            let of =
                |sentence: &mobilebert_tools::dataset::Sentence| vec![("{text}", sentence.words.join(" "))];
            data.sentences.iter().take(REQUESTS).map(of).collect()
        }
    };
    let Some(first) = examples.first() else {
        return Err(Failure::Input(format!("{}: it has no examples", data.file())));
    };
    let default = match (first[0].0, first.len()) {
        ("{question}", _) => QUESTION,
        (_, 1) => TEXT,
        _ => PAIR,
    };
    let body = body.unwrap_or(default);
    if !first.iter().any(|(place, _)| body.contains(place)) {
        let places: Vec<&str> = first.iter().map(|(place, _)| *place).collect();
        let problem = format!("--body has no place for the texts of --data: {}", places.join(", "));
        return Err(Failure::Usage(problem));
    }
    Ok(examples.iter().map(|texts| fill(body, texts)).collect())
}

/// Replaces each place by its text as JSON, in one pass, so that a text that looks like a place stays.
fn fill(body: &str, texts: &[(&str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = body;
    loop {
        let found = texts.iter().filter_map(|(place, text)| Some((rest.find(place)?, place.len(), text)));
        let Some((at, length, text)) = found.min_by_key(|(at, ..)| *at) else { break };
        filled += &rest[..at];
        filled += &serde_json::Value::from(text.as_str()).to_string();
        rest = &rest[at + length..];
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_addresses_one_that_accepts_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = Target::find(&format!("http://localhost:{}/x", address.port())).unwrap();
        assert_eq!(found.address, address);
    }

    #[test]
    fn urls_are_split_and_wrong_ones_are_named() {
        assert_eq!(split("http://a:80/b/c?d=e").unwrap(), ("a:80", "/b/c?d=e"));
        assert_eq!(split("http://[::1]:80").unwrap(), ("[::1]:80", "/"));
        for (url, expected) in [
            ("https://a/b", "no TLS"),
            ("a:80/b", "no scheme"),
            ("http:///b", "no URL"),
            ("http://a/b c", "no URL"),
            ("http://u@a/b", "no URL"),
        ] {
            match split(url) {
                Err(Failure::Usage(problem)) => assert!(problem.contains(expected), "{problem}"),
                other => panic!("{url}: {other:?}"),
            }
        }
        assert_eq!(Target::find("http://127.0.0.1/x").unwrap().address.port(), 80);
        assert_eq!(Target::find("http://[::1]:8080/x").unwrap().address.port(), 8080);
    }

    #[test]
    fn texts_are_put_into_bodies_as_json() {
        let texts = [("{text}", "a \"b\" {pair}".to_owned()), ("{pair}", "c".to_owned())];
        assert_eq!(fill("[{pair},{text},{pair}]", &texts), r#"["c","a \"b\" {pair}","c"]"#);
        assert_eq!(fill("{}", &texts), "{}");
    }

    #[test]
    fn headers_that_would_break_a_request_are_refused() {
        assert_eq!(header("x-api-key:  abc d").unwrap(), ("x-api-key".to_owned(), "abc d".to_owned()));
        for wrong in ["x", ": y", "a b: c", "a: b\r\nc: d", "Host: x", "content-length: 1"] {
            assert!(matches!(header(wrong), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
