//! A server on the loopback that speaks as much of S3's dialect, and of plain HTTP, as reading and writing
//! tables needs. It checks no signatures.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The objects of all buckets by their paths, and the requests so far.
#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
}

/// A server that ends with the process.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) port: u16,
    inner: Arc<Mutex<Inner>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, inner: Arc::default() };
        let all = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (one, stream) = (all.clone(), stream.unwrap());
                // A client that has read enough hangs up.
                std::thread::spawn(move || drop(one.answer(stream)));
            }
        });
        server
    }

    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        self.inner.lock().unwrap().objects.insert(path.to_owned(), bytes);
    }

    /// Returns the requests so far, each as its method, its path and its range, and forgets them.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().requests)
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut line, mut headers) = (String::new(), BTreeMap::new());
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.trim().split_once(':') else { break };
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let mut words = line.split(' ').map(str::to_owned);
            let (method, target) = (words.next().unwrap(), words.next().unwrap());
            let range = headers.get("range").cloned();
            let asked = format!("{method} {target} {}", range.as_deref().unwrap_or_default());
            self.inner.lock().unwrap().requests.push(asked.trim_end().to_owned());
            let (status, head, found) = self.respond(&method, &target, range.as_deref(), body);
            let length = found.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{head}\r\n");
            reader.get_mut().write_all(head.as_bytes())?;
            if method != "HEAD" {
                reader.get_mut().write_all(&found)?;
            }
        }
    }

    /// Returns the status, headers and the body.
    fn respond(
        &self,
        method: &str,
        target: &str,
        range: Option<&str>,
        body: Vec<u8>,
    ) -> (&'static str, String, Vec<u8>) {
        const DATE: &str = "last-modified: Sun, 29 Nov 2026 10:00:00 GMT\r\n";
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if method == "PUT" {
            self.put(path, body);
            return ("200 OK", "etag: \"1\"\r\n".to_owned(), Vec::new());
        }
        let objects = &self.inner.lock().unwrap().objects;
        if query.contains("list-type=2") {
            return ("200 OK", String::new(), listed(objects, path, query).into_bytes());
        }
        let Some(object) = objects.get(path) else {
            return ("404 Not Found", String::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec());
        };
        let head = format!("{DATE}etag: \"1\"\r\naccept-ranges: bytes\r\n");
        let Some((first, last)) =
            range.map(|range| range.trim_start_matches("bytes=").split_once('-').unwrap())
        else {
            return ("200 OK", head, object.clone());
        };
        let size = object.len();
        let (first, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => (first, size.min(last + 1)),
            (Ok(first), Err(_)) => (first, size),
            (Err(_), suffix) => (size.saturating_sub(suffix.unwrap()), size),
        };
        let head = format!("{head}content-range: bytes {first}-{}/{size}\r\n", end - 1);
        ("206 Partial Content", head, object[first..end].to_vec())
    }
}

/// Returns the answer to ListObjectsV2.
fn listed(objects: &BTreeMap<String, Vec<u8>>, bucket: &str, query: &str) -> String {
    let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix=")).unwrap_or_default();
    let (bucket, prefix) = (format!("{}/", bucket.trim_end_matches('/')), prefix.replace("%2F", "/"));
    let names = objects.iter().filter_map(|(path, object)| Some((path.strip_prefix(&bucket)?, object.len())));
    let rows = names.filter(|(name, _)| name.starts_with(&prefix)).map(|(name, size)| {
        format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-29T10:00:00.000Z</LastModified>\
             <ETag>\"1\"</ETag><Size>{size}</Size></Contents>"
        )
    });
    format!(
        "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>",
        rows.collect::<String>()
    )
}
