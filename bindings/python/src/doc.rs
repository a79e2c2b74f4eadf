//! Parts that the docstrings of several classes share, written once.

/// The arguments of the classes that open a model.
macro_rules! opening {
    () => {
        "    threads: the number of threads of each call; all cores that the process may use by default. With
        1, a call runs on the thread that makes it. Results do not depend on it.
    precision: ``\"int8\"``, ``\"bf16\"`` or ``\"f32\"``; that of the stored weights by default.
    special_tokens_in_text: false if ``[SEP]`` and the like in a text are plain characters,
        as is right for texts of strangers. Beside a `Model`, this and the two above are refused."
    };
}

/// The arguments of the methods that run a model, and the errors that all of them raise.
macro_rules! calling {
    () => {
        "    timeout: seconds after which `DeadlineExceeded` is raised, between two passes.
    progress: a function that is called with the number of inputs done and of all. What it raises ends the
        call.
    on_null: ``\"error\"``, or ``\"skip\"`` to leave out missing texts (``None``, NaN, nulls of a column).
    options: options of the class, for this call only.

Raises:
    InvalidText: a text holds half of a surrogate pair.
    DeadlineExceeded: the time is over.
    MobileBertError: an option has a value that it cannot have, or a text is missing.
    TypeError: there is no such option, or a text is no ``str``."
    };
}

/// What opening a model may raise.
macro_rules! opening_errors {
    () => {
        "
Raises:
    ModelNotFound: there is no model of this name, or its folder lacks a file.
    MobileBertError: the files are damaged, or an option has a value that it cannot have.
    TypeError: there is no such option."
    };
}

pub(crate) use {calling, opening, opening_errors};
