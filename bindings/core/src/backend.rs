//! Who computes: the engine's own backend, or one that a product brings along.

use std::sync::{Arc, PoisonError, RwLock};

use mobilebert::backend::BackendFactory;

use crate::failure::{Failure, Result};

/// The name of the engine's own backend, which is the default.
pub const NATIVE: &str = "native";

/// The backends that were registered, in their order.
static REGISTERED: RwLock<Vec<(String, Arc<dyn BackendFactory>)>> = RwLock::new(Vec::new());

/// Adds a backend under a name, by which callers in all languages choose it when they open a model.
///
/// A product that has one builds a library of its own: a crate that depends on the crate of a binding,
/// exports its functions, and calls this once before models are opened. `examples/product` is such a crate.
/// What is registered stays until the process ends.
///
/// # Errors
/// `option` if the name is empty or taken.
pub fn register_backend(name: &str, factory: impl BackendFactory + 'static) -> Result<()> {
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if name.is_empty() || name == NATIVE || registered.iter().any(|(taken, _)| taken == name) {
        return Err(Failure::option("backend", "a name that no backend has yet", format!("`{name}`")));
    }
    registered.push((name.to_owned(), Arc::new(factory)));
    Ok(())
}

/// Finds a backend by its name. `None` is the engine's own.
///
/// # Errors
/// `option` for an unknown name.
pub(crate) fn backend(name: &str) -> Result<Option<Arc<dyn BackendFactory>>> {
    if name == NATIVE {
        return Ok(None);
    }
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    match registered.iter().find(|(known, _)| known == name) {
        Some((_, factory)) => Ok(Some(factory.clone())),
        None => {
            let known: Vec<String> = registered.iter().map(|(known, _)| format!(", `{known}`")).collect();
            let expected = format!(
                "`{NATIVE}`{}; a product registers others in a library of its own (docs/extending.md)",
                known.concat()
            );
            Err(Failure::option("backend", expected, format!("`{name}`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use mobilebert::backend::native::NativeFactory;

    use super::*;

    #[test]
    fn backends_are_found_by_the_names_under_which_they_were_registered() {
        assert!(backend(NATIVE).unwrap().is_none());
        let unknown = backend("mine").unwrap_err();
        assert_eq!((unknown.code(), unknown.place()), ("option", Some("backend")));
        register_backend("mine", NativeFactory::new()).unwrap();
        assert_eq!(backend("mine").unwrap().unwrap().name(), "native");
        for taken in ["", NATIVE, "mine"] {
            assert_eq!(register_backend(taken, NativeFactory::new()).unwrap_err().place(), Some("backend"));
        }
        assert!(backend("other").unwrap_err().message().contains("expected `native`, `mine`; "));
    }
}
