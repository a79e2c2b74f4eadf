//! What the shell says of errors.

use datafusion::error::DataFusionError;

/// Says what is wrong, without the names of the layers that it came through.
pub(super) fn describe(error: &DataFusionError) -> String {
    let message = match error.find_root() {
        DataFusionError::External(inner) => inner.to_string(),
        DataFusionError::SQL(inner, _) => inner.to_string(),
        root => root.strip_backtrace(),
    };
    let own = of_function(&message).or_else(|| of_task(&message)).or_else(|| of_table(&message));
    let message = own.unwrap_or(message);
    match hint(&message) {
        Some(hint) => format!("{}; {hint}", message.trim_end()),
        None => message.trim_end().to_owned(),
    }
}

/// Takes what a function says of its arguments out of what DataFusion says around it.
fn of_function(message: &str) -> Option<String> {
    let (_, own) = message.split_once("coercion failed with: Error during planning: ")?;
    own.split_once(". No function matches").map(|(own, _)| own.to_owned())
}

/// Takes what went wrong in a task of a cluster out of the debug form in which Ballista hands it on.
fn of_task(message: &str) -> Option<String> {
    let (_, debug) = message.split_once("Task failed due to runtime execution error: ")?;
    let (_, quoted) = debug.split_once("(\"")?;
    let (quoted, _) = quoted.rsplit_once("\")")?;
    let (mut own, mut chars) = (String::with_capacity(quoted.len()), quoted.chars());
    while let Some(char) = chars.next() {
        own.push(match char {
            // There is more than one text, and which is the one that matters is not known.
            '"' => return None,
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                other @ ('"' | '\'' | '\\') => other,
                _ => return None,
            },
            other => other,
        });
    }
    Some(own)
}

/// Says what kind of table a query on a cluster cannot read.
fn of_table(message: &str) -> Option<String> {
    message.contains("failed to serialize logical plan").then(|| {
        "a cluster reads files, and this query reads a table that only the client has, such as that of create \
         table or generate_series; write it into a file first"
            .to_owned()
    })
}

/// Returns the way out of a mistake that is often the first one.
fn hint(message: &str) -> Option<&'static str> {
    let is_unknown = message.contains("table '") && message.ends_with("' not found");
    if is_unknown || message.contains("found: / at") || message.contains("in a multi-line comment") {
        return Some(
            "the name of a file stands in quotes, as in from 'reviews/*.csv', and has a dot or a slash",
        );
    }
    message
        .contains("Dot access not supported")
        .then_some("a field stands in brackets, as in classify(text)['label']")
}

#[cfg(test)]
mod tests {
    use datafusion::error::DataFusionError;

    use super::describe;

    /// The messages of a cluster, as Ballista 55 has them.
    #[test]
    fn errors_of_tasks_are_told_in_their_own_words() {
        const TASK: &str =
            "Job 1 failed: Job failed due to stage 0 failed: Task failed due to runtime execution error: ";
        for (debug, expected) in [
            (
                r#"DataFusionError(Shared(External(DataFusionError(Execution("the text \"it\\'s\": no")))))"#,
                r#"the text "it\'s": no"#,
            ),
            (r#"DataFusionError(Execution("two\nlines"))"#, "two\nlines"),
            // What is not understood is told as it is.
            ("DataFusionError(External(ArrowError(DivideByZero)))", ""),
            (r#"DataFusionError(Context("one", Execution("two")))"#, ""),
            (r#"DataFusionError(Execution("\u{1}"))"#, ""),
            (r#"DataFusionError(Execution("open"#, ""),
        ] {
            let message = format!("{TASK}{debug}\n\n");
            let told = describe(&DataFusionError::Execution(message.clone()));
            let expected = match expected {
                "" => format!("Execution error: {}", message.trim_end()),
                own => own.to_owned(),
            };
            assert_eq!(told, expected, "{debug}");
        }
    }
}
