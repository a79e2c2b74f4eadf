//! The table of all routes. The metrics, the log, the OpenAPI document and the answer to a wrong method all
//! come from it.

use crate::call::{Call, Reply, Step};
use crate::config::Dialect;
use crate::dialect::{hf, native, oip, openai, tei};
use crate::error::Result;

/// A method that some route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// What answers a route.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// Says whether the process lives.
    Live(fn(bool) -> Reply),
    /// Says whether requests are taken.
    Ready(fn(bool) -> Reply),
    Metrics,
    /// A text that never changes.
    Fixed(fn() -> Reply),
    /// Reads the models, and may compute.
    Compute(fn(&Call) -> Result<Step>),
    /// Changes which models there are.
    Repository(Change),
}

/// What an administrator may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Say which models there are.
    Index,
    Load,
    Unload,
}

/// A route.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// The path. `{name}` stands for one part of it.
    pub(crate) pattern: &'static str,
    pub(crate) dialect: Dialect,
    /// The task in the metrics.
    pub(crate) task: &'static str,
    pub(crate) handler: Handler,
    /// True if bodies may be binary.
    pub(crate) binary: bool,
}

impl Route {
    /// Returns true if no API key is asked for.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.handler, Handler::Live(_) | Handler::Ready(_) | Handler::Fixed(_))
    }

    /// Returns true if it answers on the second address.
    pub(crate) fn is_about_health(&self) -> bool {
        matches!(self.handler, Handler::Live(_) | Handler::Ready(_) | Handler::Metrics)
    }

    /// Returns true if its requests have texts or tokens.
    pub(crate) fn is_about_texts(&self) -> bool {
        self.method == Method::Post
    }

    /// Compares a path with the pattern and returns what stands in the open parts.
    fn matches(&self, path: &str) -> Option<Vec<(&'static str, String)>> {
        let mut params = Vec::new();
        let (mut pattern, mut path) = (self.pattern.split('/'), path.split('/'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return Some(params),
                (Some(part), Some(found)) => {
                    match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                        Some(_) if found.is_empty() => return None,
                        Some(name) => params.push((name, found.to_owned())),
                        None if part == found => {}
                        None => return None,
                    }
                }
                _ => return None,
            }
        }
    }
}

const fn get(pattern: &'static str, dialect: Dialect, task: &'static str, handler: Handler) -> Route {
    Route { method: Method::Get, pattern, dialect, task, handler, binary: false }
}

const fn post(
    pattern: &'static str,
    dialect: Dialect,
    task: &'static str,
    handler: fn(&Call) -> Result<Step>,
) -> Route {
    Route { method: Method::Post, pattern, dialect, task, handler: Handler::Compute(handler), binary: false }
}

const fn change(pattern: &'static str, change: Change) -> Route {
    let (method, handler) = (Method::Post, Handler::Repository(change));
    Route { method, pattern, dialect: Dialect::Oip, task: "repository", handler, binary: false }
}

const fn infer(pattern: &'static str) -> Route {
    Route { binary: true, ..post(pattern, Dialect::Oip, "infer", oip::infer) }
}

use Dialect::{Hf, Native, Oip, OpenAi, Tei};

/// All routes.
pub(crate) const ROUTES: &[Route] = &[
    get("/", Native, "about", Handler::Fixed(native::page)),
    get("/openapi.json", Native, "about", Handler::Fixed(native::openapi)),
    get("/live", Native, "health", Handler::Live(native::health)),
    get("/ready", Native, "health", Handler::Ready(native::health)),
    get("/metrics", Native, "metrics", Handler::Metrics),
    get("/api/v1/models", Native, "models", Handler::Compute(native::models)),
    post("/api/v1/{model}/answer", Native, "answer", native::answer),
    post("/api/v1/{model}/classify", Native, "classify", native::classify),
    post("/api/v1/{model}/tag", Native, "tag", native::tag),
    post("/api/v1/{model}/fill-mask", Native, "fill-mask", native::fill_mask),
    post("/api/v1/{model}/embed", Native, "embed", native::embed),
    post("/api/v1/{model}/tokenize", Native, "tokenize", native::tokenize),
    post("/v1/embeddings", OpenAi, "embed", openai::embeddings),
    get("/v1/models", OpenAi, "models", Handler::Compute(openai::models)),
    get("/v1/models/{model}", OpenAi, "models", Handler::Compute(openai::model)),
    get("/health", Tei, "health", Handler::Ready(tei::health)),
    get("/ping", Tei, "health", Handler::Ready(tei::health)),
    get("/info", Tei, "about", Handler::Compute(tei::info)),
    post("/embed", Tei, "embed", tei::embed),
    post("/embed_all", Tei, "embed", tei::embed_all),
    post("/embed_sparse", Tei, "embed", tei::embed_sparse),
    post("/predict", Tei, "classify", tei::predict),
    post("/rerank", Tei, "classify", tei::rerank),
    post("/similarity", Tei, "embed", tei::similarity),
    post("/tokenize", Tei, "tokenize", tei::tokenize),
    post("/decode", Tei, "tokenize", tei::decode),
    get("/tei/{model}/info", Tei, "about", Handler::Compute(tei::info)),
    post("/tei/{model}/embed", Tei, "embed", tei::embed),
    post("/tei/{model}/embed_all", Tei, "embed", tei::embed_all),
    post("/tei/{model}/embed_sparse", Tei, "embed", tei::embed_sparse),
    post("/tei/{model}/predict", Tei, "classify", tei::predict),
    post("/tei/{model}/rerank", Tei, "classify", tei::rerank),
    post("/tei/{model}/similarity", Tei, "embed", tei::similarity),
    post("/tei/{model}/tokenize", Tei, "tokenize", tei::tokenize),
    post("/tei/{model}/decode", Tei, "tokenize", tei::decode),
    post("/models/{model}", Hf, "task", hf::task),
    post("/models/{model}/pipeline/{task}", Hf, "task", hf::task),
    get("/v2", Oip, "about", Handler::Compute(oip::server)),
    get("/v2/health/live", Oip, "health", Handler::Live(oip::live)),
    get("/v2/health/ready", Oip, "health", Handler::Ready(oip::ready)),
    get("/v2/models/{model}", Oip, "about", Handler::Compute(oip::model)),
    get("/v2/models/{model}/versions/{version}", Oip, "about", Handler::Compute(oip::model)),
    get("/v2/models/{model}/ready", Oip, "health", Handler::Compute(oip::model_ready)),
    get("/v2/models/{model}/versions/{version}/ready", Oip, "health", Handler::Compute(oip::model_ready)),
    infer("/v2/models/{model}/infer"),
    infer("/v2/models/{model}/versions/{version}/infer"),
    change("/v2/repository/index", Change::Index),
    change("/v2/repository/models/{model}/load", Change::Load),
    change("/v2/repository/models/{model}/unload", Change::Unload),
];

/// What a method and a path lead to.
pub(crate) enum Lookup {
    Found(&'static Route, Vec<(&'static str, String)>),
    /// The path has routes for these methods only.
    WrongMethod(&'static Route, Vec<&'static str>),
    Nothing,
}

/// Finds the route of a request among those of the dialects that are offered. `HEAD` goes where `GET` goes.
pub(crate) fn find(method: &str, path: &str, offered: &[Dialect]) -> Lookup {
    let method = if method == "HEAD" { "GET" } else { method };
    // The routes about the server itself do not depend on the dialects.
    let is_own = |route: &Route| route.dialect == Native && !route.pattern.starts_with("/api");
    let is_offered = |route: &&Route| is_own(route) || offered.contains(&route.dialect);
    let routes = ROUTES.iter().filter(is_offered);
    let fitting: Vec<_> = routes.filter_map(|route| Some((route, route.matches(path)?))).collect();
    let methods: Vec<&'static str> = fitting.iter().map(|(route, _)| route.method.name()).collect();
    let first = fitting.first().map(|(route, _)| *route);
    match fitting.into_iter().find(|(route, _)| route.method.name() == method) {
        Some((route, params)) => Lookup::Found(route, params),
        None => match first {
            Some(route) => Lookup::WrongMethod(route, methods),
            None => Lookup::Nothing,
        },
    }
}

/// Returns the dialect whose form an error has for a path without a route.
pub(crate) fn dialect_of(path: &str) -> Dialect {
    match path.split('/').nth(1) {
        Some("v1") => OpenAi,
        Some("v2") => Oip,
        Some("models") => Hf,
        Some("tei") => Tei,
        _ => Native,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        match find(method, path, &Dialect::ALL) {
            Lookup::Found(route, params) => Some((route.pattern, params)),
            _ => None,
        }
    }

    #[test]
    fn paths_lead_to_their_routes() {
        let (pattern, params) = found("POST", "/api/v1/qa/answer").unwrap();
        assert_eq!((pattern, params), ("/api/v1/{model}/answer", vec![("model", "qa".to_owned())]));
        assert_eq!(found("HEAD", "/live").unwrap().0, "/live");
        assert_eq!(found("GET", "/").unwrap().0, "/");
        for path in ["/api/v1//answer", "/api/v1/qa/answer/", "//live", "", "/live/x", "/api/v1/a/b/answer"] {
            assert!(found("POST", path).is_none() && found("GET", path).is_none(), "{path}");
        }
        let wrong = find("GET", "/embed", &Dialect::ALL);
        assert!(matches!(wrong, Lookup::WrongMethod(_, methods) if methods == ["POST"]));
        assert!(matches!(find("POST", "/embed", &[Dialect::Native]), Lookup::Nothing));
        assert!(matches!(find("POST", "/api/v1/qa/answer", &[Dialect::Tei]), Lookup::Nothing));
        assert!(matches!(find("GET", "/live", &[Dialect::Tei]), Lookup::Found(..)));
    }

    #[test]
    fn no_two_routes_are_the_same() {
        for (i, a) in ROUTES.iter().enumerate() {
            for b in &ROUTES[i + 1..] {
                assert!(a.pattern != b.pattern || a.method != b.method, "{}", a.pattern);
            }
        }
    }

    /// The document lists each route, and nothing else.
    #[test]
    fn the_document_lists_the_routes() {
        let document: serde_json::Value =
            serde_json::from_slice(include_bytes!("../assets/openapi.json")).unwrap();
        let mut listed = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            listed.extend(
                methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())),
            );
        }
        listed.sort();
        let mut known: Vec<(String, String)> =
            ROUTES.iter().map(|route| (route.method.name().to_owned(), route.pattern.to_owned())).collect();
        known.sort();
        assert_eq!(listed, known);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        // Each name that the document refers to is in it.
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
